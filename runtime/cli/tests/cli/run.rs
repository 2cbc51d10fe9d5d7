//! `dormouse run`: what it prints, how it stops, and why it does not start.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use expect_test::expect;

use crate::sandbox::{PATIENCE, Sandbox, http};

/// Nothing listens behind the endpoint: messages for it wait.
const GOOD: &str = "\
kind: dormouse.http.v1/ingress
spec: {listen: 127.0.0.1:0}
---
kind: io.statefun.endpoints.v2/http
spec: {functions: shop/*, urlPathTemplate: http://127.0.0.1:1/statefun}
";

fn with_ports(banner: &str) -> String {
    let mut text = String::new();
    for (index, part) in banner.split("127.0.0.1:").enumerate() {
        if index == 0 || part.starts_with("1/") {
            text.push_str(if index == 0 { "" } else { "127.0.0.1:" });
            text.push_str(part);
        } else {
            text.push_str("127.0.0.1:PORT");
            text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
    }
    text
}

#[test]
fn it_says_what_it_serves_and_stops_when_asked() {
    for signal in ["TERM", "INT"] {
        let sandbox = Sandbox::with(GOOD);
        let running = sandbox.start(&["run", "--admin", "127.0.0.1:0", "--store", "memory"]);
        expect![[r#"
            dormouse 0.1.0
              ingress   dormouse.http/ingress            http://127.0.0.1:PORT
              function  shop/*                           http://127.0.0.1:1/statefun
              data      in memory: gone with this process
              admin     http://127.0.0.1:PORT
            ready
        "#]]
        .assert_eq(&with_ports(&running.banner));
        let admin = running.address("admin");
        assert_eq!(http(&admin, "GET", "/healthz", ""), (200, "ok\n".to_owned()));
        assert_eq!(http(&admin, "GET", "/readyz", ""), (200, "ready\n".to_owned()));
        let (status, page) = http(&admin, "GET", "/metrics", "");
        assert_eq!(status, 200);
        assert!(page.contains("# TYPE dormouse_messages_processed_total counter"));
        running.signal(signal);
        assert_eq!(running.end(), "exit 0\n");
    }
}

#[test]
fn data_lies_beside_the_first_manifest_unless_told_otherwise() {
    let sandbox = Sandbox::new();
    sandbox.write("app/module.yaml", GOOD);
    let arguments = ["run", "app", "--admin", "off"];
    let running = sandbox.start(&arguments);
    running.signal("TERM");
    assert_eq!(running.end(), "exit 0\n");
    assert!(sandbox.path("app/.dormouse").is_dir());
    let running = sandbox.start(&[&arguments[..], &["--data", "elsewhere"]].concat());
    running.signal("TERM");
    assert_eq!(running.end(), "exit 0\n");
    assert!(sandbox.path("elsewhere").is_dir());
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sandbox = Sandbox::with(GOOD);
    let text = sandbox.run(&["run", "--store", "memory", "--admin", &address]);
    expect![[r#"
        error: admin listener: cannot listen on ADDRESS: Address already in use (os error 98); choose another address with --admin, or `--admin off`
        exit 1
    "#]].assert_eq(&text.replace(&address, "ADDRESS"));
    let sandbox = Sandbox::with(&GOOD.replace("127.0.0.1:0", &address));
    let text = sandbox.run(&["run", "--store", "memory", "--admin", "off"]);
    expect![[r#"
        error: module.yaml:1:7: ingress `dormouse.http/ingress`: cannot listen on ADDRESS: Address already in use (os error 98); another process (or another component of this application) uses the port
        exit 1
    "#]].assert_eq(&text.replace(&address, "ADDRESS"));
}

#[test]
fn a_data_directory_that_is_in_use_is_refused() {
    let sandbox = Sandbox::with(GOOD);
    let arguments = ["run", "--admin", "off", "--data", "data"];
    let running = sandbox.start(&arguments);
    expect![[r#"
        error: data: locked by another process; stop it, or choose another --data directory
        exit 1
    "#]]
    .assert_eq(&sandbox.run(&arguments));
    running.signal("TERM");
    assert_eq!(running.end(), "exit 0\n");
}

#[test]
fn partitions_are_fixed_when_the_directory_is_made() {
    let sandbox = Sandbox::with(GOOD);
    let run = |more: &[&str]| {
        let running = sandbox.start(&[&["run", "--admin", "off", "--data", "data"], more].concat());
        running.signal("TERM");
        assert_eq!(running.end(), "exit 0\n");
    };
    run(&["--partitions", "8"]);
    run(&[]);
    run(&["--partitions", "8"]);
    let text = sandbox.run(&["run", "--admin", "off", "--data", "data", "--partitions", "16"]);
    expect![[r#"
        error: data/version: the directory was made with 8 partitions and cannot be opened with 16: the number decides where each address lives; leave --partitions out or set it to 8
        exit 1
    "#]].assert_eq(&text);
}

#[test]
fn a_data_directory_that_cannot_be_one_is_refused() {
    let sandbox = Sandbox::with(GOOD);
    let run = |data: &str| sandbox.run(&["run", "--admin", "off", "--data", data]);
    sandbox.write("data", "a file");
    sandbox.write("foreign/version", "something else\n");
    sandbox.write("photos/cat.jpg", "a cat");
    let later = "dormouse embedded store\nformat 999\nchecksum 417f0174\n";
    sandbox.write("later/version", later);
    expect![[r#"
        error: data: is a file, not a directory; choose another --data directory
        exit 1
    "#]]
    .assert_eq(&run("data"));
    expect![[r#"
        error: data/below: lies below a file, not a directory; choose another --data directory
        exit 1
    "#]]
    .assert_eq(&run("data/below"));
    expect![[r#"
        error: not/there: cannot be made, because not does not exist; make or mount it, or choose another --data directory
        exit 1
    "#]].assert_eq(&run("not/there"));
    // Nobody may make a directory there, root neither.
    let text = run("/sys/dormouse");
    assert!(text.starts_with("error: /sys/dormouse: cannot be written ("), "{text}");
    assert!(text.ends_with("or choose another --data directory\nexit 1\n"), "{text}");
    expect![[r#"
        error: foreign/version: does not begin with "dormouse embedded store": it is damaged (restore it from a copy), or this is not a data directory of Dormouse (choose another --data directory)
        exit 1
    "#]].assert_eq(&run("foreign"));
    expect![[r#"
        error: photos: holds "cat.jpg" and no file "version", so it is not a data directory of Dormouse; choose an empty or another --data directory
        exit 1
    "#]].assert_eq(&run("photos"));
    expect![[r#"
        error: later/version: the directory has format 999, this program reads and writes format 1; use the version that made it
        exit 1
    "#]].assert_eq(&run("later"));
}

#[test]
fn a_data_directory_that_is_not_whole_is_refused() {
    let sandbox = Sandbox::with(GOOD);
    let arguments = ["run", "--admin", "off", "--data", "data"];
    let running = sandbox.start(&arguments);
    running.signal("TERM");
    assert_eq!(running.end(), "exit 0\n");
    let log = sandbox.path("data/log");
    let aside = sandbox.path("aside");
    std::fs::rename(&log, &aside).unwrap();
    expect![[r#"
        error: data/log is missing: the data directory was in use before; restore it from a copy as a whole, or choose an empty --data directory to start as a new application
        exit 1
    "#]].assert_eq(&sandbox.run(&arguments));
    std::fs::create_dir(&log).unwrap();
    expect![[r#"
        error: data/log/*.log is missing: the data directory was in use before; restore it from a copy as a whole, or choose an empty --data directory to start as a new application
        exit 1
    "#]].assert_eq(&sandbox.run(&arguments));
    std::fs::remove_dir(&log).unwrap();
    std::fs::rename(&aside, &log).unwrap();
    sandbox.write("data/base/current", "");
    expect![[r#"
        error: data/base/current: damaged: it has 0 bytes instead of 25; restore the whole data directory from a copy, or choose an empty one to start as a new application
        exit 1
    "#]].assert_eq(&sandbox.run(&arguments));
    std::fs::remove_dir_all(sandbox.path("data/base")).unwrap();
    expect![[r#"
        error: data/base is missing: the data directory was in use before; restore it from a copy as a whole, or choose an empty --data directory to start as a new application
        exit 1
    "#]].assert_eq(&sandbox.run(&arguments));
}

/// A data directory with rows in its base.
fn with_base() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with(GOOD);
    let arguments = ["run", "--admin", "off", "--data", "data"];
    let running = sandbox.start(&arguments);
    let (status, _) = http(&running.address("ingress"), "POST", "/shop/a/b", "hello");
    assert_eq!(status, 202);
    running.signal("KILL");
    assert_eq!(running.end(), "exit -\n");
    // The next start writes to the base what it has recovered.
    let running = sandbox.start(&arguments);
    let began = Instant::now();
    let table = loop {
        assert!(began.elapsed() < PATIENCE, "no table of the base was written");
        let tables = std::fs::read_dir(sandbox.path("data/base/tables"));
        if let Some(table) = tables.into_iter().flatten().flatten().next() {
            break table.path();
        }
        sleep(Duration::from_millis(5));
    };
    running.signal("TERM");
    assert_eq!(running.end(), "exit 0\n");
    (sandbox, table)
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_scrub_on_demand_names_what_is_damaged() {
    let (sandbox, table) = with_base();
    let scrub = ["scrub", "--data", "data"];
    let text = sandbox.run(&scrub);
    assert!(text.starts_with("checked: ") && text.ends_with("; damage: 0\nexit 0\n"), "{text}");
    flip(&table);
    let text = sandbox.run(&scrub);
    assert!(text.ends_with("exit 2\n") && text.contains("; damage: 1\n"), "{text}");
    let name = table.file_name().unwrap().to_string_lossy();
    let told = format!("error: data/base/tables/{name}: damaged: ");
    assert!(text.contains(&told) && text.contains("keys "), "{text}");
    std::fs::remove_file(sandbox.path("data/version")).unwrap();
    let text = sandbox.run(&scrub);
    assert!(text.contains("error: data/version is missing: "), "{text}");
    assert!(text.ends_with("exit 2\n"), "{text}");
    expect![[r#"
        error: nowhere: is not a data directory of Dormouse: it has no file "version"
        exit 1
    "#]]
    .assert_eq(&sandbox.run(&["scrub", "--data", "nowhere"]));
}

#[test]
fn a_running_process_tells_of_damage_that_nobody_reads() {
    let (sandbox, table) = with_base();
    let arguments =
        ["run", "--admin", "127.0.0.1:0", "--data", "data", "--set", "embedded.scrub=1s"];
    let running = sandbox.start(&arguments);
    let admin = running.address("admin");
    assert_eq!(http(&admin, "GET", "/readyz", "").0, 200);
    flip(&table);
    let began = Instant::now();
    let told = "dormouse_store_damaged_files 1\n";
    while !http(&admin, "GET", "/metrics", "").1.contains(told) {
        assert!(began.elapsed() < PATIENCE, "the damage is not found");
        sleep(Duration::from_millis(20));
    }
    assert_eq!(http(&admin, "GET", "/readyz", "").0, 503);
    running.signal("TERM");
    let text = running.end();
    let line = text.lines().find(|line| line.contains("damage")).unwrap();
    assert!(line.contains("ERROR") && line.contains(&*table.to_string_lossy()), "{line}");
}

/// An endpoint that takes calls and never answers keeps a request in flight.
#[test]
fn a_second_signal_stops_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = silent.local_addr().unwrap().to_string();
    let sandbox = Sandbox::with(&GOOD.replace("127.0.0.1:1/", &format!("{endpoint}/")));
    let mut running = sandbox.start(&["run", "--store", "memory", "--admin", "off"]);
    let ingress = running.address("ingress");
    let waiting = spawn(move || http(&ingress, "POST", "/shop/a/b?wait=50s", "hello"));
    let _call = silent.accept().unwrap();
    // `timeout` and terminals send several at once: they mean one.
    running.signals(&["TERM", "INT", "TERM"]);
    sleep(Duration::from_millis(1_200));
    assert!(running.is_alive(), "the request in flight was not waited for");
    running.signal("TERM");
    expect![[r#"
        error: stopped at once; what was not finished is done again at the next start
        exit 1
    "#]]
    .assert_eq(&running.end());
    assert!(waiting.join().is_err(), "nobody can have answered");
}

#[test]
fn what_was_accepted_survives_a_kill_and_recovery_is_logged() {
    let sandbox = Sandbox::with(GOOD);
    let arguments = ["run", "--admin", "127.0.0.1:0"];
    let running = sandbox.start(&arguments);
    let (status, _) = http(&running.address("ingress"), "POST", "/shop/a/b", "hello");
    assert_eq!(status, 202);
    running.signal("KILL");
    assert_eq!(running.end(), "exit -\n");
    let json = ["--set", "log.format=json", "--set", "log.filter=info"];
    let running = sandbox.start(&[&arguments[..], &json].concat());
    let admin = running.address("admin");
    let began = Instant::now();
    while awake_instances(&admin) != 1 {
        assert!(began.elapsed() < PATIENCE, "the message is not delivered again");
        sleep(Duration::from_millis(5));
    }
    running.signal("TERM");
    let text = running.end();
    let recovered = text.lines().find(|line| line.contains("recovered")).unwrap();
    assert!(recovered.starts_with('{') && recovered.contains("\"level\":\"INFO\""), "{text}");
}

fn awake_instances(admin: &str) -> u64 {
    let (_, page) = http(admin, "GET", "/metrics", "");
    let value = |line: &str| {
        let (_, value) = line.strip_prefix("dormouse_awake_instances{")?.split_once("} ")?;
        value.parse::<u64>().ok()
    };
    page.lines().filter_map(value).sum()
}
