//! Functions and routers that are linked into the binary, beside what a manifest says.

use dormouse_sdk::router::{Downstream, FromRecord, RouterDescriptor};

use super::*;

#[test]
fn functions_in_this_process_can_be_named() {
    let component = |functions: &str| {
        format!("---\nkind: dormouse.functions.v1/in-process\nspec: {{functions: {functions}}}\n")
    };
    let targets = ["linked/one", "linked/*", "linked/tow", "other/*", "'*/x'", "linked/t*", "x"];
    let text = targets.map(component).concat();
    check(
        &format!("{INGRESS}{text}"),
        expect![[r#"
            module.yaml:11:19: error: function `linked/tow` is not linked into this binary; did you mean `linked/two`?
            module.yaml:14:19: error: function `other/*` is not linked into this binary; linked are `linked/one`, `linked/two`
            module.yaml:17:19: error: `functions`: expected `<namespace>/<name>` or `<namespace>/*`, found `*/x`
            module.yaml:20:19: error: `functions`: expected `<namespace>/<name>` or `<namespace>/*`, found `linked/t*`
            module.yaml:23:19: error: `functions`: expected `<namespace>/<name>` or `<namespace>/*`, found `x`
        "#]],
    );
}

#[test]
fn failure_policies_of_functions_in_this_process_are_set_by_name() {
    let component = |functions: &str, then: &str| {
        let failure = format!("{{retry: {{attempts: 3}}, then: {then}}}");
        let kind = "dormouse.functions.v1/in-process";
        format!("---\nkind: {kind}\nspec: {{functions: {functions}, failure: {failure}}}\n")
    };
    let one = component("linked/one", "drop");
    let all = component("linked/*", "dead-letter");
    let policy = |plan: &Plan, name: &str| {
        plan.functions.failure(FunctionType::parse(&format!("linked/{name}")).unwrap()).then
    };
    let text = format!("{INGRESS}{one}{all}");
    let (plan, found) = plan_of(text.as_bytes(), &["linked/one", "linked/two"]);
    assert_eq!(found, "");
    assert_eq!((policy(&plan, "one"), policy(&plan, "two")), (Then::Drop, Then::DeadLetter));
    let (plan, _) = plan_of(INGRESS.as_bytes(), &["linked/one", "linked/two"]);
    assert_eq!(policy(&plan, "one"), Then::Block);
    check(
        &format!("{INGRESS}{one}{all}{one}"),
        expect![[r#"
        module.yaml:10:7: error: `linked/one` has a `failure` already at module.yaml:4:7; remove one of the two
    "#]],
    );
}

#[test]
fn a_linked_function_serves_a_namespace_and_exact_names_win() {
    let component = |functions: &str, then: &str| {
        let kind = "dormouse.functions.v1/in-process";
        let failure = format!("{{retry: {{attempts: 1}}, then: {then}}}");
        format!("---\nkind: {kind}\nspec: {{functions: {functions}, failure: {failure}}}\n")
    };
    let endpoint = "---\nkind: io.statefun.test.v1/endpoint\nspec: {functions: linked/remote}\n";
    let (one, all) = (component("linked/one", "drop"), component("linked/*", "dead-letter"));
    let text = format!("{INGRESS}{one}{all}{endpoint}");
    let (plan, found) = plan_of(text.as_bytes(), &["linked/*", "linked/two"]);
    assert_eq!(found, "");
    let served: Vec<String> = plan
        .functions
        .served()
        .iter()
        .map(|served| format!("{} {} {:?}", served.target, served.served_at, served.failure.then))
        .collect();
    assert_eq!(
        served,
        [
            "linked/* in-process DeadLetter",
            "linked/one in-process Drop",
            "linked/remote nowhere Block",
            "linked/two in-process DeadLetter"
        ]
    );
    assert!(plan.functions.serves("linked", "never named before"));
    assert!(plan.functions.preferred().is_empty(), "nothing of the manifest is passed over");
    let wildcard = "---\nkind: io.statefun.test.v1/endpoint\nspec: {functions: linked/*}\n";
    let (_, found) = plan_of(format!("{INGRESS}{wildcard}").as_bytes(), &["linked/*"]);
    expect![[r#"
        module.yaml:4:7: error: function `linked/*` is already served in-process: it is linked into this binary; remove the endpoint, or the function
    "#]]
    .assert_eq(&found);
}

fn route(_: String, _: &mut Downstream) -> Result<(), FunctionError> {
    Ok(())
}

#[test]
fn a_router_of_an_ingress_that_is_not_bound_is_told() {
    static ROUTER: RouterDescriptor = RouterDescriptor {
        name: "shop::route",
        ingress: "a/im",
        route: |record, to| route(FromRecord::from_record(record)?, to),
    };
    let told = |text: &str| {
        let files = Files::new();
        let path = files.write("module.yaml", text.as_bytes());
        let mut diagnostics = Diagnostics::default();
        let manifest = manifest::read(&[path], &mut diagnostics);
        let mut linked = with_functions(&["linked/one", "shop/till"]);
        linked.routers.push(&ROUTER);
        let _plan = resolve(&manifest, &linked, &mut diagnostics);
        files.shown(&diagnostics)
    };
    expect![[r#"
        module.yaml:1:1: warning: router `shop::route` is for the ingress `a/im`, which no manifest binds: it has nothing to do; bound are `a/in`
    "#]]
    .assert_eq(&told(INGRESS));
    // One that cannot be run yet is bound all the same.
    assert_eq!(told("kind: test.v1/later\nspec: {id: a/im}\n"), "");
}
