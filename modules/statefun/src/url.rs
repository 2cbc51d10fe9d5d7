//! Where an endpoint is: the manifest's `urlPathTemplate`, and what it means for one function type.
//! A resolved URL is safe to write on a request line: no blank, control or other stray character.

use std::fmt;

/// The only placeholder: the name part of the function type, inserted as it is.
pub const PLACEHOLDER: &str = "{function.name}";

/// A URL with placeholders, known to resolve for ordinary names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTemplate(String);

/// Where to send the requests of one function type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// As a person would write it, for messages.
    pub text: String,
    pub authority: Authority,
    /// Path and query of the request line; never empty.
    pub target: String,
}

/// A host and port; what a pool of connections is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// A name or address; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
}

impl UrlTemplate {
    /// Checks the template with an ordinary name in the placeholder's stead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let template = Self(text.to_owned());
        template.resolve("name")?;
        Ok(template)
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
    /// The value of the `host` header: the port is left out where it is 80 or 443.
    #[must_use]
    pub fn host_header(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            80 | 443 => host,
            port => format!("{host}:{port}"),
        }
    }
}

fn parse(text: &str) -> Result<Url, String> {
    let stray = |c: char| !c.is_ascii_graphic() || "\"<>\\^`{|}".contains(c);
    if let Some(found) = text.chars().find(|c| stray(*c)) {
        return Err(format!(
            "`{text}` is no URL: it must not contain {found:?} (the only placeholder is `{PLACEHOLDER}`)"
        ));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(|| {
        format!("expected a URL such as `http://host:8000/statefun`, found `{text}`")
    })?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => {
            return Err(format!(
                "`{text}`: https endpoints are not supported yet; use `http://`, for example through a local TLS proxy"
            ));
        }
        "http+unix" | "https+unix" => {
            return Err(format!(
                "`{text}`: Unix domain sockets are not supported yet; let the function listen on a TCP port"
            ));
        }
        _ => return Err(format!("`{text}`: expected scheme `http`, found `{scheme}`")),
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let authority = parse_authority(authority).map_err(|why| format!("`{text}`: {why}"))?;
    let target = match target.chars().next() {
        Some('/') => target.to_owned(),
        _ => format!("/{target}"),
    };
    Ok(Url { text: text.to_owned(), authority, target })
}

fn parse_authority(text: &str) -> Result<Authority, String> {
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
    let port = match port {
        Some("") => 80,
        Some(digits) => digits
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| format!("expected a port from 1 to 65535, found `{digits}`"))?,
        None => return Err(format!("expected `[address]:port`, found `{text}`")),
    };
    Ok(Authority { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(template: &str, name: &str) -> (String, u16, String) {
        let url = UrlTemplate::parse(template).unwrap().resolve(name).unwrap();
        (url.authority.host, url.authority.port, url.target)
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
        assert!(why("https://h/").contains("not supported yet"));
        assert!(why("http+unix:///a.sock/x").contains("Unix domain sockets are not supported yet"));
        assert!(why("ftp://h/").contains("expected scheme `http`, found `ftp`"));
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
        assert!(template.resolve("größe").is_err());
    }
}
