//! What clients of the bank read, and what a wrong manifest or journal is answered with.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const MANIFEST: &str = "kind: example.bank.v1/lines\nspec: {id: bank/lines, listen: '127.0.0.1:0'}\n---\n\
                        kind: example.bank.v1/journal\nspec: {id: bank/journal, path: journal.txt}\n";

struct Bank {
    child: Child,
    address: String,
}

impl Bank {
    fn start(directory: &Path) -> Self {
        fs::write(directory.join("module.yaml"), MANIFEST).expect("a manifest");
        let mut child = command(directory, "run")
            .args(["--admin", "off", "--store", "memory"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bank starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut lines = lines.map_while(Result::ok);
        let address = lines.find_map(|line| Some(line.split_once("tcp://")?.1.trim().to_owned()));
        Self { child, address: address.expect("it says where it listens") }
    }

    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        BufReader::new(stream)
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(directory: &Path, command: &str) -> Command {
    let mut bank = Command::new(env!("CARGO_BIN_EXE_bank"));
    bank.args([command, "module.yaml"]).current_dir(directory);
    bank
}

fn ask(stream: &mut BufReader<TcpStream>, line: &[u8]) -> String {
    stream.get_mut().write_all(line).expect("it is taken");
    let mut answer = String::new();
    stream.read_line(&mut answer).expect("an answer");
    answer
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn a_line_is_answered_and_a_bad_one_refused_with_the_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let bank = Bank::start(directory.path());
    let mut stream = bank.connect();
    assert_eq!(ask(&mut stream, b"ann 1 250\n"), "ok\n");
    let refused = ask(&mut stream, b"ann one 250\n");
    assert!(
        refused.starts_with("refused: router bank::to_account of ingress bank/lines"),
        "{refused}"
    );
    assert!(refused.ends_with("expected `<account> <number> <cents>`\n"), "{refused}");
    // Several at once, and one in pieces.
    assert_eq!(ask(&mut stream, b"ann 2 1\nann 3 1\nann"), "ok\n");
    assert_eq!(ask(&mut stream, b" 4 1\n"), "ok\n");
    assert_eq!(ask(&mut stream, b""), "ok\n");
    for bad in [&[b'x'; 4_098][..], b"\xff\n"] {
        let mut stream = bank.connect();
        assert!(ask(&mut stream, bad).starts_with("refused: "));
        let mut rest = Vec::new();
        // Closed: with what it had not read, that may be a reset.
        assert!(matches!(stream.read_to_end(&mut rest), Ok(0) | Err(_)));
    }
}

#[test]
fn a_manifest_without_a_router_and_a_file_that_is_no_journal_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    fs::write(path.join("module.yaml"), MANIFEST.replace("bank/lines", "bank/other"))
        .expect("a file");
    let output = command(path, "check").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let expected = "module.yaml:1:7: error: no router of `bank/other` is linked into this binary";
    assert!(text(&output).contains(expected), "{}", text(&output));
    fs::write(path.join("module.yaml"), MANIFEST).expect("a file");
    fs::write(path.join("journal.txt"), "3.1 ann 1 1\nDear diary\n").expect("a file");
    let output = command(path, "run").args(["--admin", "off"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let expected = "cannot append to journal.txt: at byte 12: expected a line of the journal";
    assert!(text(&output).contains(expected), "{}", text(&output));
}
