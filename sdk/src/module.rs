//! How a module plugs into an application: binders of component kinds, found at link time.

use std::sync::Arc;

use dormouse_protocol::{FailurePolicy, TypeName};

use crate::egress::Egress;
use crate::function::FunctionProvider;
use crate::ingress::Ingress;
use crate::manifest::routes::Target;
use crate::manifest::{Diagnostics, Node, Span};

/// Understands one kind of component. Submitted by [`crate::register_binder!`].
#[derive(Clone, Copy, Debug)]
pub struct Binder {
    /// The `kind` it understands, e.g. `io.statefun.endpoints.v2/http`.
    pub kind: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Reads the component's `spec`, reports everything that is wrong with it, and binds what it
    /// describes. Opens nothing and connects to nothing.
    pub bind: fn(&Component, &mut Bindings, &mut Diagnostics),
}

inventory::collect!(Binder);

/// Registers a [`Binder`] of the crate that calls it.
#[macro_export]
macro_rules! register_binder {
    ($binder:expr) => {
        $crate::module::private::inventory::submit! { $binder }
    };
}

#[doc(hidden)]
pub mod private {
    pub use inventory;
}

/// One document of a manifest.
#[derive(Clone, Debug)]
pub struct Component {
    /// What it is, e.g. `io.statefun.endpoints.v2/http`.
    pub kind: String,
    /// Where it stands.
    pub span: Span,
    /// What the binder of the kind reads.
    pub spec: Node,
}

impl Bindings {
    /// Notes that `component`, of this kind and with this id, is right and cannot be run yet.
    pub fn cannot_run(
        &mut self,
        component: &Component,
        kind: &'static str,
        side: Side,
        id: TypeName,
    ) {
        self.unavailable.push(Unavailable { span: component.span.clone(), kind, side, id });
    }
}

impl Component {
    /// Kinds of Dormouse's own are strict; manifests of `io.statefun.*` kinds with stray fields are in
    /// use, so there an unknown field is only a warning.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        !self.kind.starts_with("io.statefun.")
    }
}

/// What the components of an application bind. Names are checked for duplicates by the runtime.
#[derive(Debug, Default)]
pub struct Bindings {
    /// Function types and who serves them.
    pub functions: Vec<FunctionBinding>,
    /// What becomes of messages that linked functions fail on.
    pub failures: Vec<FailureBinding>,
    /// Where messages enter.
    pub ingresses: Vec<IngressBinding>,
    /// Where records leave.
    pub egresses: Vec<EgressBinding>,
    /// Function types that ingresses send to by themselves; one that nobody serves is reported.
    pub targets: Vec<Target>,
    /// Components that were read and found right, and that this version cannot run.
    pub unavailable: Vec<Unavailable>,
}

/// Which function types a provider serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionTarget {
    /// One function type.
    Exact(TypeName),
    /// `<namespace>/*`; an exact binding wins over it.
    Namespace(String),
}

/// Function types served by a provider.
#[derive(Debug)]
pub struct FunctionBinding {
    /// Where it stands.
    pub span: Span,
    /// The types that are served.
    pub target: FunctionTarget,
    /// Who serves them.
    pub provider: Arc<dyn FunctionProvider>,
    /// For people: where it is served, e.g. the URL template.
    pub served_at: String,
    /// What becomes of messages that they fail on.
    pub failure: FailurePolicy,
}

/// What becomes of messages that functions linked into the binary fail on.
#[derive(Clone, Debug)]
pub struct FailureBinding {
    /// Where it stands.
    pub span: Span,
    /// The functions that it is for; an exact one wins over a namespace.
    pub target: FunctionTarget,
    /// What becomes of the messages.
    pub failure: FailurePolicy,
}

/// An ingress and its id.
#[derive(Debug)]
pub struct IngressBinding {
    /// Where it stands.
    pub span: Span,
    /// Its id, unique within the application.
    pub id: TypeName,
    /// What serves it.
    pub ingress: Arc<dyn Ingress>,
}

/// An egress and its id.
#[derive(Debug)]
pub struct EgressBinding {
    /// Where it stands.
    pub span: Span,
    /// Its id, unique within the application.
    pub id: TypeName,
    /// What serves it.
    pub egress: Arc<dyn Egress>,
}

/// An ingress or egress whose kind is understood, but not implemented yet. An application that has one
/// can be checked, and is not run.
#[derive(Clone, Debug)]
pub struct Unavailable {
    /// Where it stands.
    pub span: Span,
    /// Its kind.
    pub kind: &'static str,
    /// Which way messages go.
    pub side: Side,
    /// Its id, unique within the application.
    pub id: TypeName,
}

/// Which way messages go through a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Into the application.
    Ingress,
    /// Out of it.
    Egress,
}
