//! Redirects: the okhttp transport follows those that keep a request what it is; nothing else is followed.

use std::cell::RefCell;
use std::rc::Rc;

use dormouse_statefun::transport::Transport;
use http_body_util::Full;

use crate::calls::{NO_EFFECTS, assert_no_effects, brief, call, refusal, run};
use crate::server::{Answer, good, hyper_server};

fn redirect(status: u16, location: &str) -> Answer {
    let builder = http::Response::builder().status(status).header("Location", location);
    builder.body(Full::default()).unwrap()
}

#[test]
fn okhttp_follows_redirects_that_keep_the_method() {
    for status in [307, 308] {
        run(async move {
            let (target, seen) = hyper_server(async |_| good(NO_EFFECTS)).await;
            let (address, first) = hyper_server(move |number| async move {
                match number {
                    1 => redirect(status, "/again?x=1"),
                    _ => redirect(status, &format!("http://{target}/there")),
                }
            })
            .await;
            assert_no_effects(call(format!("http://{address}/"), Transport::okhttp()).await);
            assert_eq!(first.heads.borrow()[1].uri, "/again?x=1");
            assert_eq!(first.connections.get(), 1);
            let head = &seen.heads.borrow()[0];
            assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/there"));
            assert_eq!(seen.requests.borrow()[0], first.requests.borrow()[0]);
        });
    }
}

#[test]
fn a_redirect_that_would_lose_the_messages_is_refused() {
    for status in [300, 301, 302, 303] {
        run(async move {
            let (address, seen) =
                hyper_server(move |_| async move { redirect(status, "/there") }).await;
            let transport = Transport::okhttp();
            let message = refusal(call(format!("http://{address}/"), transport).await);
            assert!(message.contains("a redirect to `/there` (only 307 and 308 keep"), "{message}");
            assert!(message.contains("name the final URL in the manifest"), "{message}");
            assert_eq!(seen.requests.borrow().len(), 1);
        });
    }
}

#[test]
fn the_async_transport_follows_none() {
    run(async {
        let (address, seen) = hyper_server(async |_| redirect(307, "/there")).await;
        let message = refusal(call(format!("http://{address}/"), brief()).await);
        assert!(message.contains("got 307, a redirect to `/there` (the async"), "{message}");
        assert!(seen.heads.borrow().iter().all(|head| head.uri == "/"));
        assert!(seen.requests.borrow().len() > 1, "it is tried again, as every status is");
    });
}

#[test]
fn twenty_redirects_are_followed_and_no_more() {
    run(async {
        let last = Rc::new(RefCell::new(20));
        let shown = Rc::clone(&last);
        let (address, seen) = hyper_server(move |number| {
            let last = *shown.borrow();
            async move { if number > last { good(NO_EFFECTS) } else { redirect(307, "/next") } }
        })
        .await;
        let url = format!("http://{address}/");
        assert_no_effects(call(url.clone(), Transport::okhttp()).await);
        assert_eq!(seen.requests.borrow().len(), 21);
        *last.borrow_mut() = 1_000;
        let message = refusal(call(url, Transport::okhttp()).await);
        assert!(message.contains("more than 20 redirects, the last from"), "{message}");
        assert_eq!(seen.requests.borrow().len(), 42, "that is final");
    });
}

#[test]
fn a_redirect_to_nowhere_is_named() {
    run(async {
        let (address, _) = hyper_server(async |_| redirect(308, "ftp://files/")).await;
        let message = refusal(call(format!("http://{address}/"), Transport::okhttp()).await);
        assert!(message.contains("redirects to what is no endpoint: `ftp://files/`"), "{message}");
    });
}
