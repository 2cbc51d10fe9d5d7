//! Where an endpoint is: the manifest's `urlPathTemplate`, and what it means for one function type.
//! `http://` and `https://` name a host, `http+unix://` a socket of this machine.
//! A resolved URL is safe to write on a request line: no blank, control or other stray character.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

/// The only placeholder: the name part of the function type, inserted as it is.
pub const PLACEHOLDER: &str = "{function.name}";

/// Longest path of a socket that the system takes, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A URL with placeholders, known to resolve for ordinary names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTemplate(String);

/// Where to send the requests of one function type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// As a person would write it, for messages.
    pub text: String,
    pub authority: Authority,
    /// Path and query of the request line; never empty. Escapes stay as they are written, and what is not
    /// ASCII becomes one.
    pub target: String,
}

/// Whom to connect to, and how; what a pool of connections is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    pub place: Place,
    pub is_tls: bool,
}

/// Where somebody listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A name or address (an IPv6 address without brackets) and a port.
    Host(String, u16),
    /// A Unix domain socket.
    Socket(PathBuf),
}

impl UrlTemplate {
    /// Checks the template with an ordinary name in the placeholder's stead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let template = Self(text.to_owned());
        template.resolve("name")?;
        Ok(template)
    }

    /// Whether requests go over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.resolve("name").is_ok_and(|url| url.authority.is_tls)
    }

    /// The URL of the function type with this name.
    pub fn resolve(&self, function_name: &str) -> Result<Url, String> {
        parse(&self.0.replace(PLACEHOLDER, function_name))
    }
}

impl fmt::Display for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Authority {
    /// The value of the `host` header: the port is left out where it is 80 or 443. A socket has no host.
    #[must_use]
    pub fn host_header(&self) -> String {
        match &self.place {
            Place::Socket(_) => "localhost".to_owned(),
            Place::Host(host, 80 | 443) => bracketed(host),
            Place::Host(host, port) => format!("{}:{port}", bracketed(host)),
        }
    }
}

/// As it stands in messages.
impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Socket(path) => write!(f, "{}", path.display()),
            Place::Host(..) => f.write_str(&self.host_header()),
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// A URL without its user name and password, if it has any: StateFun does not send them either.
#[must_use]
pub fn without_user(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let (_, host) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://{host}{target}"))
}

impl Url {
    /// Where a redirect leads that says `location`.
    pub fn join(&self, location: &str) -> Result<Self, String> {
        let location = location.split('#').next().unwrap_or_default();
        if location.contains("://") {
            return parse(location);
        }
        if location.starts_with("//") {
            let scheme = if self.authority.is_tls { "https" } else { "http" };
            return parse(&format!("{scheme}:{location}"));
        }
        check_characters(location)?;
        let path = self.target.split(['?', '#']).next().unwrap_or_default();
        let target = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') | None => format!("{path}{location}"),
            Some(_) => {
                let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                format!("{directory}/{location}")
            }
        };
        let scheme = match (&self.authority.place, self.authority.is_tls) {
            (Place::Socket(_), _) => "http+unix",
            (Place::Host(..), true) => "https",
            (Place::Host(..), false) => "http",
        };
        let text = format!("{scheme}://{}{target}", self.authority);
        Ok(Self { text, authority: self.authority.clone(), target: ascii(&target) })
    }
}

fn parse(text: &str) -> Result<Url, String> {
    check_characters(text)?;
    let (scheme, rest) = text.split_once("://").ok_or_else(|| {
        format!("expected a URL such as `http://host:8000/statefun`, found `{text}`")
    })?;
    let failed = |why: String| format!("`{text}`: {why}");
    let (authority, target) = match scheme.to_ascii_lowercase().as_str() {
        "http" => parse_host(rest, false).map_err(failed)?,
        "https" => parse_host(rest, true).map_err(failed)?,
        // Both are plain HTTP, in StateFun too: nobody else can read a socket of this machine.
        "http+unix" | "https+unix" => parse_socket(rest).map_err(failed)?,
        _ => {
            return Err(failed(format!(
                "expected scheme `http`, `https` or `http+unix`, found `{scheme}`"
            )));
        }
    };
    let target = match target.chars().next() {
        Some('/') => ascii(target),
        _ => format!("/{}", ascii(target)),
    };
    Ok(Url { text: text.to_owned(), authority, target })
}

fn check_characters(text: &str) -> Result<(), String> {
    let stray = |c: char| c.is_control() || c.is_whitespace() || "\"<>\\^`{|}".contains(c);
    match text.chars().find(|c| stray(*c)) {
        None => Ok(()),
        Some(found) => Err(format!(
            "`{text}` is no URL: it must not contain {found:?} (the only placeholder is `{PLACEHOLDER}`)"
        )),
    }
}

/// Text of a URL as it may stand on a request line.
fn ascii(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii() {
            escaped.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// What follows the scheme, taken apart into a host and a target.
fn parse_host(rest: &str, is_tls: bool) -> Result<(Authority, &str), String> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let (host, port) = parse_authority(authority)?;
    let port = port.unwrap_or(if is_tls { 443 } else { 80 });
    Ok((Authority { place: Place::Host(host, port), is_tls }, target))
}

/// The socket is everything up to and including the first element of the path that ends in `.sock`.
fn parse_socket(rest: &str) -> Result<(Authority, &str), String> {
    if !rest.starts_with('/') {
        return Err("expected three slashes and an absolute path, as in \
                    `http+unix:///run/functions.sock/statefun`"
            .to_owned());
    }
    let path_end = rest.find(['?', '#']).unwrap_or(rest.len());
    let mut ends = rest[1..path_end].match_indices('/').map(|(at, _)| at + 1).chain([path_end]);
    let end = ends
        .find(|end| rest[..*end].ends_with(".sock"))
        .ok_or("Unix Domain Socket path should contain a .sock file")?;
    let path = PathBuf::from(percent_decoded(&rest[..end])?);
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!("the path of a socket is at most {SOCKET_PATH_BYTES_MAX} bytes long"));
    }
    Ok((Authority { place: Place::Socket(path), is_tls: false }, &rest[end..]))
}

/// A path of a URL as the file system knows it.
pub(crate) fn percent_decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}`: expected two hexadecimal digits after each `%`, and UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or_else(wrong);
                (digit(high)? * 16 + digit(low)?, after)
            }
            (b'%', _) => return Err(wrong()),
            (plain, after) => (u32::from(*plain), after),
        };
        bytes.push(u8::try_from(byte).map_err(|_| wrong())?);
        rest = after;
    }
    let decoded = String::from_utf8(bytes).map_err(|_| wrong())?;
    if decoded.contains('\0') { Err(wrong()) } else { Ok(decoded) }
}

/// Host and port, if there is one.
fn parse_authority(text: &str) -> Result<(String, Option<u16>), String> {
    if text.contains('@') {
        return Err(
            "a user name or password cannot be sent; remove everything up to `@`".to_owned()
        );
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) =
                rest.split_once(']').ok_or("the IPv6 address lacks its closing `]`")?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some("")))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("")),
        },
    };
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if !host.is_ascii() {
        return Err(format!("the host `{host}` has to be written in ASCII (`xn--...`)"));
    }
    let port = match port {
        Some("") => None,
        Some(digits) => {
            let port = digits.parse().ok().filter(|port| *port != 0);
            let expected = || format!("expected a port from 1 to 65535, found `{digits}`");
            Some(port.ok_or_else(expected)?)
        }
        None => return Err(format!("expected `[address]:port`, found `{text}`")),
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(template: &str, name: &str) -> (String, u16, String) {
        let url = UrlTemplate::parse(template).unwrap().resolve(name).unwrap();
        match url.authority.place {
            Place::Host(host, port) => (host, port, url.target),
            Place::Socket(path) => panic!("expected a host, found the socket {path:?}"),
        }
    }

    #[test]
    fn every_placeholder_is_replaced_wherever_it_stands() {
        assert_eq!(
            resolve("http://{function.name}.svc:81/f/{function.name}?n={function.name}", "cart"),
            ("cart.svc".to_owned(), 81, "/f/cart?n=cart".to_owned())
        );
    }

    #[test]
    fn defaults_of_port_and_path() {
        assert_eq!(resolve("http://h", "f"), ("h".to_owned(), 80, "/".to_owned()));
        assert_eq!(resolve("HTTP://h?q", "f"), ("h".to_owned(), 80, "/?q".to_owned()));
        assert_eq!(resolve("http://[::1]:8000/x", "f"), ("::1".to_owned(), 8000, "/x".to_owned()));
        assert_eq!(resolve("https://h", "f"), ("h".to_owned(), 443, "/".to_owned()));
        assert_eq!(resolve("HTTPS://h:8443/x", "f"), ("h".to_owned(), 8443, "/x".to_owned()));
        assert!(parse("https://h").unwrap().authority.is_tls);
        assert!(!parse("http://h:443").unwrap().authority.is_tls);
    }

    #[test]
    fn a_socket_is_the_first_element_that_ends_in_sock() {
        for (text, path, target) in [
            ("http+unix:///run/f.sock/a/b?c=d", "/run/f.sock", "/a/b?c=d"),
            ("https+unix:///run/f.sock", "/run/f.sock", "/"),
            ("HTTP+UNIX:///run/f.sock/", "/run/f.sock", "/"),
            ("http+unix:///f.sock?x", "/f.sock", "/?x"),
            ("http+unix:///a.sock/b.sock/c", "/a.sock", "/b.sock/c"),
            ("http+unix:///a%20b.sock/%20", "/a b.sock", "/%20"),
        ] {
            let url = parse(text).unwrap();
            assert_eq!(url.authority.place, Place::Socket(PathBuf::from(path)), "{text}");
            assert!(!url.authority.is_tls);
            assert_eq!(url.target, target, "{text}");
            assert_eq!(url.authority.host_header(), "localhost");
        }
        let why = |text: &str| parse(text).unwrap_err();
        let expected = "Unix Domain Socket path should contain a .sock file";
        assert!(why("http+unix:///run/f/statefun").contains(expected));
        assert!(why("http+unix:///run/f?x=.sock").contains(expected));
        assert!(why("http+unix://run/f.sock").contains("three slashes"));
        assert!(why("http+unix:///%zz.sock").contains("hexadecimal"));
        assert!(
            why(&format!("http+unix:///{}.sock", "x".repeat(102))).contains("at most 107 bytes")
        );
        assert!(parse(&format!("http+unix:///{}.sock", "x".repeat(101))).is_ok());
    }

    #[test]
    fn redirects_lead_where_their_location_says() {
        let joined = |from: &str, location: &str| parse(from).unwrap().join(location).unwrap().text;
        let from = "http://h:81/a/b?q=1";
        for (location, to) in [
            ("https://other/x#y", "https://other/x"),
            ("//other:8/x", "http://other:8/x"),
            ("/x?y", "http://h:81/x?y"),
            ("c", "http://h:81/a/c"),
            ("?z", "http://h:81/a/b?z"),
            ("", "http://h:81/a/b"),
        ] {
            assert_eq!(joined(from, location), to, "{location}");
        }
        assert_eq!(joined("https://h", "//o"), "https://o");
        assert_eq!(joined("http+unix:///f.sock/a", "/b"), "http+unix:///f.sock/b");
        let from = parse(from).unwrap();
        assert!(from.join("ftp://h/").is_err());
        assert!(from.join("/a b").is_err());
    }

    #[test]
    fn the_host_header_leaves_out_the_usual_ports() {
        let header = |text: &str| parse(text).unwrap().authority.host_header();
        assert_eq!(header("http://h:80/"), "h");
        assert_eq!(header("http://h:443/"), "h");
        assert_eq!(header("http://h:8000/"), "h:8000");
        assert_eq!(header("http://[::1]:8000/"), "[::1]:8000");
    }

    #[test]
    fn what_is_no_url_is_explained() {
        let why = |text: &str| UrlTemplate::parse(text).unwrap_err();
        assert!(why("functions:8000/statefun").contains("expected a URL such as"));
        assert!(
            why("ftp://h/").contains("expected scheme `http`, `https` or `http+unix`, found `ftp`")
        );
        assert!(why("http:///x").contains("the host is missing"));
        assert!(why("http://h:0/x").contains("port from 1 to 65535"));
        assert!(why("http://h:http/x").contains("found `http`"));
        assert!(why("http://h/{function.type}").contains("only placeholder"));
        assert!(why("http://me@h/").contains('@'));
    }

    #[test]
    fn a_name_cannot_break_out_of_the_request_line() {
        let template = UrlTemplate::parse("http://h/{function.name}").unwrap();
        assert!(template.resolve("a b").is_err());
        assert!(template.resolve("a\r\nx: y").is_err());
        assert!(template.resolve("a\u{a0}b").is_err());
        assert!(template.resolve("a\u{85}b").is_err());
    }

    #[test]
    fn what_is_not_ascii_is_escaped_and_escapes_stay() {
        let of = |template, name| resolve(template, name).2;
        assert_eq!(
            of("http://h/é/{function.name}?{function.name}", "größe"),
            "/%C3%A9/gr%C3%B6%C3%9Fe?gr%C3%B6%C3%9Fe"
        );
        assert_eq!(of("http://h/a%2Fb%20c?d=%26", "f"), "/a%2Fb%20c?d=%26");
        assert_eq!(parse("http://h/a").unwrap().join("/ü").unwrap().target, "/%C3%BC");
        assert!(UrlTemplate::parse("http://größe/").unwrap_err().contains("xn--"));
    }
}
