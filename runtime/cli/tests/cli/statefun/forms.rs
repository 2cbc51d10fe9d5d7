//! Manifests as editors, other systems and tools leave them behind: each is read as StateFun reads it.

use std::fs;

use crate::sandbox::Sandbox;

/// One of everything that a greeter has, with comments.
const APPLICATION: &str = "\
# The greeter.
kind: io.statefun.endpoints.v2/http # where it is
spec:
  functions: example/*
  urlPathTemplate: http://functions:8000/{function.name}
---
kind: io.statefun.playground.v1/ingress
spec:
  port: 8090
---
kind: io.statefun.playground.v1/egress
spec:
  port: 8091
  topics:
    - greetings
";
const OK: &str = "ok: 1 manifest, 1 ingress, 1 function target, 1 egress\nexit 0\n";

/// It is read without a word.
#[track_caller]
fn reads(what: &str, manifest: impl AsRef<[u8]>) {
    let sandbox = Sandbox::new();
    sandbox.write("module.yaml", manifest);
    assert_eq!(sandbox.run(&["check"]), OK, "{what}");
}

#[test]
fn line_ends_and_marks_of_other_systems() {
    reads("as it is", APPLICATION);
    reads("line ends of Windows", APPLICATION.replace('\n', "\r\n"));
    reads("line ends of the old Macintosh", APPLICATION.replace('\n', "\r"));
    reads("a byte order mark", format!("\u{feff}{APPLICATION}"));
    let windows = format!("\u{feff}{}", APPLICATION.replace('\n', "\r\n"));
    reads("both", windows);
    reads("no line end at the end", APPLICATION.trim_end());
    reads("blanks at line ends", APPLICATION.replace('\n', "  \n"));
    reads("lines of a tab alone", APPLICATION.replace("---\n", "---\n\t\n"));
}

#[test]
fn documents_that_are_empty_or_end_in_other_ways() {
    for end in
        ["---", "---\n", "--- ", "...\n", "---\n---\n", "---\n# nothing\n", "...\n---\n...\n"]
    {
        reads(&format!("{end:?} at the end"), format!("{APPLICATION}{end}"));
    }
    for begin in
        ["---\n", "---\n---\n", "# nothing\n---\n", "%YAML 1.1\n---\n", "\n\n", "--- # first\n"]
    {
        reads(&format!("{begin:?} at the beginning"), format!("{begin}{APPLICATION}"));
    }
}

#[test]
fn other_spellings_of_the_same_values() {
    let (port, topics) = ("  port: 8090\n", "  topics:\n    - greetings\n");
    for other in
        ["  port: \"8090\"\n", "  port: '8090'\n", "  port: 8_090\n", "  port: +8090 # there\n"]
    {
        reads(other, APPLICATION.replace(port, other));
    }
    for other in [
        "  topics: [greetings]\n",
        "  topics:\n  - greetings\n",
        "  topics: [\n    'greetings',\n  ]\n",
    ] {
        reads(other, APPLICATION.replace(topics, other));
    }
    reads(
        "JSON inside",
        APPLICATION.replace("spec:\n  port: 8090\n", "spec: {\n  \"port\":8090\n}\n"),
    );
    reads("quoted keys", APPLICATION.replace("kind:", "\"kind\":").replace("spec:", "'spec':"));
    reads(
        "a folded kind",
        APPLICATION.replace(": io.statefun.playground", ": >-\n  io.statefun.playground"),
    );
    reads("a slash at the end", APPLICATION.replace("v1/ingress", "v1/ingress/"));
    let anchored =
        APPLICATION.replace("  topics:\n    - greetings", "  topics: &t [greetings]\n  more: *t");
    let said = Sandbox::with(&anchored).run(&["check"]);
    assert!(
        said.contains(":15:3: warning: unknown field `more`") && said.ends_with("exit 0\n"),
        "{said}"
    );
}

#[test]
fn text_in_another_encoding_says_so() {
    let sandbox = Sandbox::new();
    let wide: Vec<u8> = APPLICATION.encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(sandbox.path("module.yaml"), [&[0xff, 0xfe][..], &wide].concat()).unwrap();
    let said = sandbox.run(&["check"]);
    assert!(
        said.contains("module.yaml:1:1: error: is not UTF-8 text here; save the file as UTF-8"),
        "{said}"
    );
}
