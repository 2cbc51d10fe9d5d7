//! Manifests as text, findings and plans as text: one `check`, many scripts. The kinds are those of
//! a small module that this test registers, as any module does.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "manifests/in_process.rs"]
mod in_process;
#[path = "manifests/yaml.rs"]
mod yaml;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dormouse_host::manifest;
use dormouse_host::plan::{Plan, resolve};
use dormouse_host::registry::{Linked, LinkedFunction, linked};
use dormouse_protocol::{FailurePolicy, FunctionType, InvokeError, Then, TypeName, TypedValue};
use dormouse_sdk::egress::{Egress, EgressEntry};
use dormouse_sdk::function::{Function, FunctionProvider};
use dormouse_sdk::ingress::{Ingress, Lane, LocalFuture, OpenError};
use dormouse_sdk::manifest::routes::Target;
use dormouse_sdk::manifest::values::type_name;
use dormouse_sdk::manifest::{Diagnostics, Fields, Severity};
use dormouse_sdk::module::{
    Binder, Bindings, Component, EgressBinding, FunctionBinding, FunctionTarget, IngressBinding,
    Side, Unavailable,
};
use dormouse_sdk::{Context, FunctionError, Message, register_binder};
use expect_test::{Expect, expect};

/// Serves nothing; these tests only look at who would serve.
#[derive(Debug, Default)]
struct Named(String);

impl FunctionProvider for Named {
    fn function(&self, _: FunctionType) -> Result<Box<dyn Function>, InvokeError> {
        Err(InvokeError::new(format!("{} is only a name", self.0)))
    }
}

impl Ingress for Named {
    fn open(&self) -> Result<Option<String>, OpenError> {
        Ok(None)
    }

    fn serve(self: Arc<Self>, _: Lane) -> LocalFuture<()> {
        Box::pin(async {})
    }
}

impl Egress for Named {
    fn open(&self) -> Result<Option<String>, OpenError> {
        Ok(None)
    }

    fn check(&self, _: &TypedValue) -> Result<String, String> {
        Ok(String::new())
    }

    fn has_queue(&self, _: &str) -> bool {
        true
    }

    fn deliver(&self, _: Vec<EgressEntry>) {}

    fn serve(self: Arc<Self>, _: Lane) -> LocalFuture<()> {
        Box::pin(async {})
    }
}

register_binder!(Binder {
    kind: "test.v1/ingress",
    summary: "an ingress",
    bind: |component, bindings, diagnostics| {
        let Some(id) = id_of(component, diagnostics) else { return };
        bindings.ingresses.push(IngressBinding {
            span: component.span.clone(),
            id,
            ingress: Arc::new(Named::default()),
        });
    },
});

register_binder!(Binder {
    kind: "test.v1/egress",
    summary: "an egress",
    bind: |component, bindings, diagnostics| {
        let Some(id) = id_of(component, diagnostics) else { return };
        bindings.egresses.push(EgressBinding {
            span: component.span.clone(),
            id,
            egress: Arc::new(Named::default()),
        });
    },
});

register_binder!(Binder {
    kind: "test.v1/later",
    summary: "an ingress that cannot be run",
    bind: |component, bindings, diagnostics| {
        let Some(id) = id_of(component, diagnostics) else { return };
        let function = TypeName::parse("shop/till").unwrap();
        bindings.targets.push(Target { span: component.spec.span.clone(), function });
        let (span, kind, side) = (component.span.clone(), "test.v1/later", Side::Ingress);
        bindings.unavailable.push(Unavailable { span, kind, side, id });
    },
});

register_binder!(Binder {
    kind: "io.statefun.test.v1/endpoint",
    summary: "functions",
    bind: bind_endpoint,
});

fn id_of(component: &Component, diagnostics: &mut Diagnostics) -> Option<TypeName> {
    let mut fields = Fields::of(&component.spec, "spec", component.is_strict(), diagnostics)?;
    let id = fields.required("id", "`<namespace>/<name>`", diagnostics);
    fields.finish(diagnostics);
    type_name(id?, "id", diagnostics)
}

fn bind_endpoint(component: &Component, bindings: &mut Bindings, diagnostics: &mut Diagnostics) {
    let strict = component.is_strict();
    let Some(mut fields) = Fields::of(&component.spec, "spec", strict, diagnostics) else {
        return;
    };
    let functions = fields.required("functions", "`<namespace>/<name>`", diagnostics);
    let url = fields.optional("url").and_then(|url| url.as_text());
    fields.finish(diagnostics);
    let Some(text) = functions.and_then(|node| node.as_text()) else {
        return;
    };
    let target = match text.strip_suffix("/*") {
        Some(namespace) => FunctionTarget::Namespace(namespace.to_owned()),
        None => FunctionTarget::Exact(TypeName::parse(text).unwrap()),
    };
    bindings.functions.push(FunctionBinding {
        failure: FailurePolicy::default(),
        span: component.span.clone(),
        target,
        provider: Arc::new(Named(text.to_owned())),
        served_at: url.unwrap_or("nowhere").to_owned(),
    });
}

async fn linked_function(_: &mut Context, _: Message) -> Result<(), FunctionError> {
    Ok(())
}

dormouse_sdk::function! { "linked/one", linked_function }
dormouse_sdk::function! { "linked/two", linked_function }

/// A directory of its own for each test.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dormouse-manifests-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Findings without this directory's path.
    fn shown(&self, diagnostics: &Diagnostics) -> String {
        let mut found = diagnostics.found.clone();
        found.sort_by_key(|f| (f.span.file.clone(), f.span.line, f.span.column));
        let lines: String = found.iter().map(|f| format!("{f}\n")).collect();
        lines.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plan_of(text: &[u8], functions: &[&str]) -> (Plan, String) {
    let files = Files::new();
    let path = files.write("module.yaml", text);
    let mut diagnostics = Diagnostics::default();
    let manifest = manifest::read(&[path], &mut diagnostics);
    let linked = with_functions(functions);
    let plan = resolve(&manifest, &linked, &mut diagnostics);
    (plan, files.shown(&diagnostics))
}

fn with_functions(functions: &[&str]) -> Linked {
    let mut all = linked().unwrap();
    all.functions = functions
        .iter()
        .map(|name| LinkedFunction {
            target: target_of(name),
            provider: Arc::new(Named::default()),
        })
        .collect();
    all
}

fn target_of(name: &str) -> FunctionTarget {
    let name = TypeName::parse(name).unwrap();
    match name.name.as_str() {
        "*" => FunctionTarget::Namespace(name.namespace),
        _ => FunctionTarget::Exact(name),
    }
}

/// What is wrong with a manifest.
#[allow(clippy::needless_pass_by_value, reason = "expect! makes values")]
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&plan_of(text.as_bytes(), &["linked/one"]).1);
}

const INGRESS: &str = "kind: test.v1/ingress\nspec: {id: a/in}\n";

#[test]
fn a_good_manifest_is_served_and_empty_documents_are_skipped() {
    let text = format!(
        "---\n{INGRESS}---\n---\nkind: io.statefun.test.v1/endpoint\nspec:\n  functions: shop/*\n  \
         url: http://shop\n---\nkind: test.v1/egress\nspec: {{id: a/out}}\n---\n"
    );
    let (plan, findings) = plan_of(text.as_bytes(), &["shop/till"]);
    assert_eq!(findings, "");
    assert_eq!((plan.ingresses.len(), plan.egresses.len()), (1, 1));
    let served: Vec<String> =
        plan.functions.served().iter().map(|s| format!("{} {}", s.target, s.served_at)).collect();
    assert_eq!(served, ["shop/* http://shop", "shop/till in-process"]);
    let preferred = plan.functions.preferred();
    assert_eq!(preferred.len(), 1);
    assert_eq!(preferred[0].0.target, "shop/till");
    assert!(plan.functions.serves("shop", "a name never seen before"));
    assert!(!plan.functions.serves("other", "till"));
    assert!(FunctionType::known("shop", "a name never seen before").is_none());
}

#[test]
fn an_exact_function_wins_over_its_namespace() {
    let text = format!(
        "{INGRESS}---\nkind: io.statefun.test.v1/endpoint\nspec: {{functions: shop/*}}\n---\n\
         kind: io.statefun.test.v1/endpoint\nspec: {{functions: shop/exact}}\n"
    );
    let (plan, findings) = plan_of(text.as_bytes(), &[]);
    assert_eq!(findings, "");
    let provider = |name| {
        let provider = plan.functions.provider(FunctionType::new("shop", name));
        format!("{:?}", provider.unwrap())
    };
    assert_eq!(provider("exact"), "Named(\"shop/exact\")");
    assert_eq!(provider("other"), "Named(\"shop/*\")");
    let nobody = FunctionType::new("x", "y");
    assert!(plan.functions.provider(nobody).is_none());
}

#[test]
fn unknown_kinds_and_missing_fields_are_reported_together() {
    check(
        "kind: test.v1/ingres\nspec: {id: a/in}\n---\nspec: {}\n---\nkind: test.v1/egress\n---\n\
         kind: [a]\nspec: {}\n---\n- a\n---\njust text\n---\nkind: test.v1/egress\nspec: {ID: a/b}\n",
        expect![[r#"
            module.yaml:1:7: error: unknown kind `test.v1/ingres`; did you mean `test.v1/ingress`? Kinds are `dormouse.functions.v1/in-process`, `io.statefun.test.v1/endpoint`, `test.v1/egress`, `test.v1/ingress`, `test.v1/later`
            module.yaml:4:1: error: missing field `kind`: expected a kind such as `io.statefun.endpoints.v2/http`
            module.yaml:6:1: error: missing field `spec`: expected a map with the settings of this component
            module.yaml:8:7: error: kind: expected text such as `namespace/name`, found a list
            module.yaml:11:1: error: expected a map with `kind` and `spec`, found a list
            module.yaml:13:1: error: expected a map with `kind` and `spec`, found `just text`
            module.yaml:16:7: error: missing field `id`: expected `<namespace>/<name>`
            module.yaml:16:8: error: unknown field `ID`; did you mean `id`?
        "#]],
    );
}

#[test]
fn stray_fields_are_errors_in_strict_kinds_and_warnings_in_others() {
    check(
        &format!(
            "{INGRESS}sepc: 1\n---\nkind: io.statefun.test.v1/endpoint\nmeta: x\nspec:\n  functions: \
             a/b\n  urll: http://x\n"
        ),
        expect![[r#"
            module.yaml:3:1: error: unknown field `sepc`; did you mean `spec`?
            module.yaml:6:1: warning: unknown field `meta`; a document has `kind`, `spec` (it has no effect)
            module.yaml:9:3: warning: unknown field `urll`; did you mean `url`? (it has no effect)
        "#]],
    );
}

#[test]
fn names_that_occur_twice_name_both_places() {
    check(
        &format!(
            "{INGRESS}---\n{INGRESS}---\nkind: test.v1/egress\nspec: {{id: a/out}}\n---\n\
             kind: test.v1/egress\nspec: {{id: a/out}}\n---\nkind: io.statefun.test.v1/endpoint\n\
             spec: {{functions: linked/one}}\n---\nkind: io.statefun.test.v1/endpoint\n\
             spec: {{functions: b/*, url: http://b}}\n---\nkind: io.statefun.test.v1/endpoint\n\
             spec: {{functions: b/*}}\n"
        ),
        expect![[r#"
            module.yaml:4:7: error: ingress id `a/in` is already taken at module.yaml:1:7; give one of the two another id
            module.yaml:10:7: error: egress id `a/out` is already taken at module.yaml:7:7; give one of the two another id
            module.yaml:13:7: error: function `linked/one` is already served in-process: it is linked into this binary; remove the endpoint, or the function
            module.yaml:19:7: error: function `b/*` is already served at module.yaml:16:7 (http://b); remove one of the two
        "#]],
    );
}

#[test]
fn an_application_needs_an_ingress_and_a_function() {
    expect![[r#"
        module.yaml:1:1: error: there are no ingress defined: nothing could send a message; add a document such as `kind: dormouse.http.v1/ingress` with `spec: {listen: 127.0.0.1:8080}`
        module.yaml:1:1: error: there are no function providers defined: nothing could receive a message; add a document of kind `io.statefun.endpoints.v2/http`, or link Rust functions into the binary
    "#]].assert_eq(&plan_of(b"", &[]).1);
}

#[test]
fn what_is_linked_is_found_in_order() {
    let linked = linked().unwrap();
    let functions: Vec<_> = linked.functions.iter().map(|f| f.target.clone()).collect();
    assert_eq!(functions, ["linked/one", "linked/two"].map(target_of));
    assert_eq!(
        linked.kinds(),
        [
            "dormouse.functions.v1/in-process",
            "io.statefun.test.v1/endpoint",
            "test.v1/egress",
            "test.v1/ingress",
            "test.v1/later"
        ]
    );
}

#[test]
fn reserved_names_are_refused() {
    check(
        &format!(
            "{INGRESS}---\nkind: io.statefun.test.v1/endpoint\nspec: {{functions: dormouse.http/*}}\n"
        ),
        expect![[r#"
            module.yaml:4:7: error: function `dormouse.http/*` stands in the namespace `dormouse.*`, which is reserved
        "#]],
    );
}

#[test]
fn what_cannot_be_run_counts_for_checks_and_is_reported_to_whoever_wants_to_run_it() {
    let later = "kind: test.v1/later\nspec: {id: a/in}\n";
    let (plan, findings) = plan_of(later.as_bytes(), &["shop/till"]);
    assert_eq!(findings, "");
    assert_eq!((plan.count(Side::Ingress), plan.count(Side::Egress)), (1, 0));
    let mut diagnostics = Diagnostics::default();
    plan.report_unavailable(Severity::Warning, &mut diagnostics);
    assert!(!diagnostics.has_errors() && diagnostics.found.len() == 1);
    plan.report_unavailable(Severity::Error, &mut diagnostics);
    assert!(diagnostics.has_errors());
    check(
        &format!("{INGRESS}---\n{later}"),
        expect![[r#"
        module.yaml:4:7: error: ingress id `a/in` is already taken at module.yaml:1:7; give one of the two another id
        module.yaml:5:7: warning: nobody serves `shop/till`: no endpoint has it in its `functions`, and no function of that type is linked; correct the name, or add an endpoint
    "#]],
    );
}

/// Also beside documents of today's format, and with what has nothing in it behind it.
#[test]
fn the_old_format_is_read_as_components_of_today() {
    let text = "version: \"3.0\"
module:
  meta: {type: remote}
  spec:
    endpoints:
      - endpoint:
          meta: {kind: io.statefun.test.v1/endpoint}
          spec: {functions: shop/*, url: http://shop}
    ingresses:
      - ingress:
          meta: {type: test.v1/ingress, id: a/in}
          spec: {}
---
kind: test.v1/egress
spec: {id: a/out}
---
";
    let (plan, findings) = plan_of(text.as_bytes(), &[]);
    assert_eq!(findings, "");
    assert_eq!(plan.ingresses[0].id.to_string(), "a/in");
    assert_eq!(plan.egresses[0].id.to_string(), "a/out");
    assert_eq!(plan.functions.served()[0].served_at, "http://shop");
}
