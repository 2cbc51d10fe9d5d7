//! The process as a runtime sees it: started, called over HTTP, stopped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use dormouse_protocol::{
    Address, Effects, FunctionType, Invocation, Message, Response, StateSpec, TypedValue,
    from_wire, to_wire, types,
};

/// The running process; it ends with the test.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_greeter-remote"))
            .arg("0")
            .env_remove("PORT")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("serving functions at http://");
        let address = address.and_then(|url| url.strip_suffix("/statefun")).expect(&line);
        Self { child, address: address.to_owned() }
    }

    fn call(&self, invocation: &Invocation) -> Response {
        let body = to_wire::to_function(invocation);
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let length = body.len();
        let head = format!(
            "POST /statefun HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), &body].concat()).expect("the request is taken");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let split = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        let body = answer.split_off(split + 4);
        from_wire::response(body.into(), &invocation.specs).expect("a FromFunction")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(function: &str, id: &str) -> Address {
    Address::new(FunctionType::new("example", function), id)
}

fn invocation(target: &Address, specs: &[StateSpec], values: &[TypedValue]) -> Invocation {
    let caller = Some(address("waiting", "1"));
    let message = |value: &TypedValue| {
        Arc::new(Message { target: target.clone(), caller: caller.clone(), value: value.clone() })
    };
    Invocation {
        target: target.clone(),
        specs: specs.into(),
        state: vec![None; specs.len()].into(),
        messages: values.iter().map(message).collect(),
        entries: None,
    }
}

fn text(value: &str) -> TypedValue {
    TypedValue::new(types::STRING, types::encode_string(value))
}

fn effects(response: Response) -> Effects {
    match response {
        Response::Effects(effects) => *effects,
        Response::Incomplete(missing) => panic!("expected effects, missing is {missing:?}"),
    }
}

#[test]
fn a_person_is_counted_and_the_waiting_caller_is_greeted() {
    let process = Process::start();
    let bob = address("person", "Bob");
    let json = TypedValue::new("example/GreetRequest", &br#"{"name":"Bob"}"#[..]);
    let messages = [text("Bob"), json];
    let Response::Incomplete(specs) = process.call(&invocation(&bob, &[], &messages)) else {
        panic!("expected the missing state");
    };
    assert_eq!((specs.len(), specs[0].name.as_str()), (1, "visits"));

    let counted = effects(process.call(&invocation(&bob, &specs, &messages)));
    assert_eq!(counted.state[0].value.as_ref(), Some(&types::encode_int(2)));
    let [(target, _), (_, second)] = counted.messages.as_slice() else {
        panic!("expected two visits, got {counted:?}");
    };
    assert_eq!(*target, address("greeter", "Bob"));

    let greeted = effects(process.call(&invocation(target, &[], std::slice::from_ref(second))));
    let greeting = text("Hello Bob for the 2nd time!");
    assert_eq!(greeted.messages, [(address("waiting", "1"), greeting)]);
    let record = &greeted.egress[0];
    assert_eq!(record.egress.to_string(), "io.statefun.playground/egress");
    assert_eq!(
        record.value.value[..],
        *br#"{"topic":"greetings","payload":"Hello Bob for the 2nd time!"}"#
    );
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let process = Process::start();
    let second = Command::new(env!("CARGO_BIN_EXE_greeter-remote"))
        .arg(&process.address)
        .output()
        .expect("the process ends");
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8_lossy(&second.stderr);
    let expected = format!("greeter-remote: cannot listen on {}: ", process.address);
    assert!(error.starts_with(&expected) && error.lines().count() == 1, "{error}");
}

#[test]
fn it_stops_cleanly_when_asked() {
    let mut process = Process::start();
    let pid = process.child.id().to_string();
    let asked = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
    assert!(asked.success());
    let status = process.child.wait().expect("the process ends");
    assert_eq!(status.code(), Some(0));
}
