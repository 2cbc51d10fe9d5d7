//! `kill -9` in the middle of 100,000 requests, several times: every acknowledged request is counted,
//! none twice. Each client asks for people of its own, one request at a time, so the counts that come
//! back must grow by exactly one, except over a request whose answer was lost with the process: that
//! one may have been counted, once, or not at all.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 32;
const REQUESTS: usize = 100_000;
const PEOPLE_PER_CLIENT: usize = 20;
const KILLS: usize = 4;

struct Server {
    child: Child,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_greeter"))
            .args(["run", "--admin", "off", "--shards", "2", "module.yaml"])
            .current_dir(directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("the greeter starts");
        Self { child }
    }

    /// SIGKILL: nothing in the process gets to know of it.
    fn kill(&mut self) {
        self.child.kill().expect("the process is running");
        self.child.wait().expect("the process has ended");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a client knows of one person.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The count in the last answer.
    count: u64,
    /// Requests since then whose answer was lost.
    in_doubt: u64,
}

/// One keep-alive connection.
struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Visits; answers with the status and the body.
    fn visit(&mut self, name: &str) -> std::io::Result<(u16, String)> {
        let request = format!(
            "POST /example/person/{name}?wait=30s HTTP/1.1\r\nhost: test\r\n\
             content-type: text/plain\r\ncontent-length: {}\r\n\r\n{name}",
            name.len()
        );
        self.reader.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let mut length = 0;
        loop {
            self.line(&mut line)?;
            if line.trim_end().is_empty() {
                break;
            }
            let header = line.to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(|_| std::io::ErrorKind::InvalidData)?;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    fn line(&mut self, line: &mut String) -> std::io::Result<()> {
        line.clear();
        match self.reader.read_line(line)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The number in `Hello Bob for the 3rd time!`.
fn count_in(greeting: &str, name: &str) -> u64 {
    let rest = greeting.strip_prefix(&format!("Hello {name} for the "));
    let rest = rest.unwrap_or_else(|| panic!("not a greeting for {name}: {greeting:?}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no count in {greeting:?}"))
}

struct Run {
    address: SocketAddr,
    sent: AtomicUsize,
    answered: AtomicUsize,
    is_over: AtomicBool,
}

/// Visits until all requests are sent; what it knows of its people in the end.
fn client(run: &Run, number: usize) -> Vec<(String, Known)> {
    let name = |i: usize| format!("c{number}p{i}");
    let mut people: Vec<_> = (0..PEOPLE_PER_CLIENT).map(|i| (name(i), Known::default())).collect();
    let mut connection = None;
    let mut next = 0;
    while run.sent.load(Ordering::Relaxed) < REQUESTS {
        assert!(!run.is_over.load(Ordering::Relaxed), "the test took too long");
        let mut open = match connection.take() {
            Some(open) => open,
            None => match Connection::open(run.address) {
                Ok(open) => open,
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
            },
        };
        run.sent.fetch_add(1, Ordering::Relaxed);
        let (name, known) = &mut people[next % PEOPLE_PER_CLIENT];
        next += 1;
        match open.visit(name) {
            Ok((200, greeting)) => {
                check(name, known, count_in(&greeting, name));
                run.answered.fetch_add(1, Ordering::Relaxed);
                connection = Some(open);
            }
            // The commit may or may not have become durable before the process ended.
            Ok((503, body)) => {
                println!("503: {body}");
                known.in_doubt += 1;
            }
            Err(error) => {
                println!("{error}");
                known.in_doubt += 1;
            }
            Ok((status, body)) => panic!("{status}: {body}"),
        }
    }
    people
}

/// An answer counts this request, all answered before it, and of those in doubt each at most once.
fn check(name: &str, known: &mut Known, count: u64) {
    let least = known.count + 1;
    let most = least + known.in_doubt;
    assert!(
        (least..=most).contains(&count),
        "{name}: counted {count} times, expected {least} to {most}"
    );
    *known = Known { count, in_doubt: 0 };
}

#[test]
fn acknowledged_requests_survive_kill_9_and_count_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    drop(listener);
    let manifest = format!(
        "kind: dormouse.http.v1/ingress\nspec:\n  listen: {address}\n---\n\
         kind: io.statefun.playground.v1/egress\nspec:\n  port: 0\n  topics: [greetings]\n"
    );
    std::fs::write(directory.path().join("module.yaml"), manifest).expect("a manifest");
    let mut server = Server::start(directory.path());
    let run = Arc::new(Run {
        address,
        sent: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let run = run.clone();
            std::thread::spawn(move || client(&run, number))
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(600);
    for kill in 1..=KILLS {
        let after = REQUESTS * kill / (KILLS + 1);
        while run.answered.load(Ordering::Relaxed) < after {
            assert!(
                Instant::now() < deadline,
                "only {} answers",
                run.answered.load(Ordering::Relaxed)
            );
            assert!(clients.iter().all(|client| !client.is_finished()), "a client has failed");
            std::thread::sleep(Duration::from_millis(1));
        }
        server.kill();
        server = Server::start(directory.path());
    }
    let mut people = Vec::new();
    for client in clients {
        people.extend(client.join().expect("no client has failed"));
    }
    run.is_over.store(true, Ordering::Relaxed);
    let mut connection = Connection::open(address).expect("the last process is running");
    for (name, mut known) in people {
        let (status, greeting) = connection.visit(&name).expect("an answer");
        assert_eq!(status, 200, "{greeting}");
        check(&name, &mut known, count_in(&greeting, &name));
    }
    let answered = run.answered.load(Ordering::Relaxed);
    // Each kill may cost each client its request, and another one or two that it sends while the
    // process's sockets are being closed.
    let least = REQUESTS - 3 * CLIENTS * KILLS;
    assert!(answered >= least, "only {answered} of {REQUESTS} requests were answered");
}
