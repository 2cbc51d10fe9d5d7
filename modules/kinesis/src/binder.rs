//! Reads Kinesis components. What they say is complete and right once they are bound.

use dormouse_sdk::manifest::{Diagnostics, routes::Route};
use dormouse_sdk::module::{Binder, Bindings, Component, Side};

use crate::egress::EgressSpec;
use crate::ingress::IngressSpec;

pub const INGRESS_KIND: &str = "io.statefun.kinesis.v1/ingress";
pub const EGRESS_KIND: &str = "io.statefun.kinesis.v1/egress";

dormouse_sdk::register_binder!(Binder {
    kind: INGRESS_KIND,
    summary: "messages from streams of Kinesis (checked, not run yet)",
    bind: bind_ingress,
});

dormouse_sdk::register_binder!(Binder {
    kind: EGRESS_KIND,
    summary: "records to streams of Kinesis (checked, not run yet)",
    bind: bind_egress,
});

fn bind_ingress(component: &Component, bindings: &mut Bindings, diagnostics: &mut Diagnostics) {
    let Some(spec) = IngressSpec::read(component, diagnostics) else { return };
    let targets = spec.routes.into_iter().flat_map(|Route { targets, .. }| targets);
    bindings.targets.extend(targets);
    bindings.cannot_run(component, INGRESS_KIND, Side::Ingress, spec.id);
}

fn bind_egress(component: &Component, bindings: &mut Bindings, diagnostics: &mut Diagnostics) {
    let Some(spec) = EgressSpec::read(component, diagnostics) else { return };
    bindings.cannot_run(component, EGRESS_KIND, Side::Egress, spec.id);
}
