//! `kill -9`, several times, while clients pay in: every payment is counted once and stands in the
//! journal once, in the order of its account, and so does what the second router made of it.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bank::LARGE_CENTS;

const CLIENTS: usize = 8;
const ACCOUNTS_PER_CLIENT: usize = 5;
const PAYMENTS_PER_ACCOUNT: i64 = 150;
const KILLS: usize = 5;

/// Longest wait for anything: only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(240);

struct Bank(Child);

impl Bank {
    fn start(directory: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_bank"))
            .args(["run", "--admin", "off", "--shards", "2", "module.yaml"])
            .current_dir(directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("the bank starts");
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().expect("the process is running");
        self.0.wait().expect("the process has ended");
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Run {
    address: SocketAddr,
    answered: AtomicUsize,
    is_over: AtomicBool,
}

/// What an account is paid: every seventh payment is large.
fn cents(number: i64) -> i64 {
    if number % 7 == 0 { LARGE_CENTS + number } else { number }
}

fn account(client: usize, account: usize) -> String {
    format!("c{client}a{account}")
}

/// Pays in, and sends again what was not answered.
fn client(run: &Run, number: usize) {
    let mut connection: Option<BufReader<TcpStream>> = None;
    for payment in 1..=PAYMENTS_PER_ACCOUNT {
        for of in 0..ACCOUNTS_PER_CLIENT {
            let line = format!("{} {payment} {}\n", account(number, of), cents(payment));
            loop {
                assert!(!run.is_over.load(Ordering::Relaxed), "the test took too long");
                match pay(run.address, &mut connection, &line) {
                    Ok(answer) => {
                        assert_eq!(answer, "ok\n");
                        run.answered.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    Err(_) => {
                        connection = None;
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            }
        }
    }
}

fn pay(
    address: SocketAddr,
    connection: &mut Option<BufReader<TcpStream>>,
    line: &str,
) -> io::Result<String> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            connection.insert(BufReader::new(stream))
        }
    };
    stream.get_mut().write_all(line.as_bytes())?;
    let mut answer = String::new();
    match stream.read_line(&mut answer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(answer),
    }
}

/// The journal's whole lines, without their places.
fn journal(directory: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(directory.join("journal.txt")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().map(|line| line.split_once(' ').expect("place and record").1);
    lines.map(ToOwned::to_owned).collect()
}

/// What stands in the journal of each account, in order.
fn by_account(lines: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let rest = line.strip_prefix("large ");
        let (account, entry) = rest.unwrap_or(line).split_once(' ').expect("an account");
        let key = if rest.is_some() { format!("large {account}") } else { account.to_owned() };
        all.entry(key).or_default().push(entry.to_owned());
    }
    all
}

fn expected() -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for name in (0..CLIENTS).flat_map(|c| (0..ACCOUNTS_PER_CLIENT).map(move |a| account(c, a))) {
        let (mut balance, mut entries, mut large) = (0, Vec::new(), Vec::new());
        for number in 1..=PAYMENTS_PER_ACCOUNT {
            balance += cents(number);
            entries.push(format!("{number} {balance}"));
            if cents(number) >= LARGE_CENTS {
                large.push(format!("{number} {}", cents(number)));
            }
        }
        all.insert(format!("large {name}"), large);
        all.insert(name, entries);
    }
    all
}

#[test]
fn payments_count_exactly_once_from_the_socket_to_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("a bound address");
    drop(free);
    let manifest = include_str!("../module.yaml").replace("127.0.0.1:8070", &address.to_string());
    std::fs::write(directory.path().join("module.yaml"), manifest).expect("a manifest");
    let mut bank = Bank::start(directory.path());
    let run = Run { address, answered: AtomicUsize::new(0), is_over: AtomicBool::new(false) };
    let run = Arc::new(run);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let run = Arc::clone(&run);
            std::thread::spawn(move || client(&run, number))
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    let all = CLIENTS * ACCOUNTS_PER_CLIENT * PAYMENTS_PER_ACCOUNT as usize;
    for kill in 1..=KILLS {
        while run.answered.load(Ordering::Relaxed) < all * kill / (KILLS + 1) {
            let answered = run.answered.load(Ordering::Relaxed);
            assert!(Instant::now() < deadline, "only {answered} of {all} are answered");
            std::thread::sleep(Duration::from_millis(1));
        }
        bank.kill();
        bank = Bank::start(directory.path());
    }
    while clients.iter().any(|client| !client.is_finished()) {
        run.is_over.store(Instant::now() >= deadline, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
    }
    clients.into_iter().for_each(|client| client.join().expect("no client has failed"));
    let expected = expected();
    let count: usize = expected.values().map(Vec::len).sum();
    while journal(directory.path()).len() < count {
        let written = journal(directory.path()).len();
        assert!(Instant::now() < deadline, "only {written} of {count} lines are written");
        std::thread::sleep(Duration::from_millis(20));
    }
    bank.kill();
    // After one more start nothing comes twice.
    bank = Bank::start(directory.path());
    let mut connection = None;
    while pay(address, &mut connection, "c0a0 1 1\n").ok().as_deref() != Some("ok\n") {
        assert!(Instant::now() < deadline, "the last start does not answer");
        connection = None;
        std::thread::sleep(Duration::from_millis(5));
    }
    bank.kill();
    assert_eq!(by_account(&journal(directory.path())), expected);
}
