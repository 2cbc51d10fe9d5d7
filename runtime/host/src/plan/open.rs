//! Binding the sockets of a plan, before anything is served: what cannot listen is told before the
//! store is opened.

use dormouse_protocol::TypeName;
use dormouse_sdk::ingress::OpenError;
use dormouse_sdk::manifest::Span;

use crate::plan::Plan;

/// An ingress or egress that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// `ingress` or `egress`.
    pub what: &'static str,
    pub id: TypeName,
    /// Where it listens, when that means something.
    pub listens_at: Option<String>,
}

/// Why one of them cannot be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{span}: {what} `{id}`: {source}")]
pub struct OpenPlanError {
    pub span: Span,
    pub what: &'static str,
    pub id: TypeName,
    pub source: OpenError,
}

impl Plan {
    /// Opens ingresses, then egresses, in the order of their ids. Called once, by whoever runs the
    /// plan, inside of a tokio runtime.
    pub fn open(&self) -> Result<Vec<Opened>, OpenPlanError> {
        let ingresses = self.ingresses.iter().map(|bound| {
            let what = "ingress";
            opened(what, &bound.id, &bound.span, bound.ingress.open())
        });
        let egresses = self.egresses.iter().map(|bound| {
            let what = "egress";
            opened(what, &bound.id, &bound.span, bound.egress.open())
        });
        ingresses.chain(egresses).collect()
    }
}

fn opened(
    what: &'static str,
    id: &TypeName,
    span: &Span,
    answer: Result<Option<String>, OpenError>,
) -> Result<Opened, OpenPlanError> {
    let id = id.clone();
    match answer {
        Ok(listens_at) => Ok(Opened { what, id, listens_at }),
        Err(source) => Err(OpenPlanError { span: span.clone(), what, id, source }),
    }
}
