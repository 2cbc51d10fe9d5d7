//! Where a manifest says that a file is: a path, `file:` and a path, or `classpath:` and a name. Read
//! when a connection needs it, so a file that appears later is found by the next attempt.

use std::path::{Path, PathBuf};

use dormouse_sdk::manifest::Span;

use crate::url::percent_decoded;

/// Longest file that is read, in bytes: the bundles of all public authorities are a tenth of it.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A file that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The field, and where it stands: what messages begin with.
    pub named_by: String,
    pub path: PathBuf,
}

impl Location {
    /// What `text` means in the field `name` at `span`. What is relative begins at the manifest's
    /// directory, which is also what stands for the classpath.
    pub fn parse(text: &str, name: &str, span: &Span) -> Result<Self, String> {
        let base = span.file.parent().unwrap_or(Path::new(""));
        let path = match text.split_once(':') {
            Some(("classpath", rest)) => PathBuf::from(rest.trim_start_matches('/')),
            Some(("file", rest)) => expanded(&percent_decoded(local(rest)?)?)?,
            Some((scheme, _)) if is_scheme(scheme) => {
                return Err(format!(
                    "expected a path, `file:` and a path, or `classpath:` and a name, found `{text}`"
                ));
            }
            _ => expanded(text)?,
        };
        if path.as_os_str().is_empty() {
            return Err(format!("expected the path of a file, found `{text}`"));
        }
        let named_by = format!("`{name}` ({}:{})", span.file.display(), span.line);
        Ok(Self { named_by, path: base.join(path) })
    }

    /// The file's content.
    pub fn read(&self) -> Result<Vec<u8>, String> {
        let failed = |error: std::io::Error| {
            let found = if error.kind() == std::io::ErrorKind::NotFound {
                "The requested resource does not exist: ".to_owned()
            } else {
                format!("cannot read it ({error}): ")
            };
            self.fault(&format!("{found}{}", self.path.display()))
        };
        let (path, found) = (self.path.display(), std::fs::metadata(&self.path).map_err(failed)?);
        // Reading a device or a pipe might never end.
        if !found.is_file() {
            return Err(self.fault(&format!("expected a file, found something else: {path}")));
        }
        if found.len() > FILE_BYTES_MAX {
            return Err(self.fault(&format!("{path} is longer than {FILE_BYTES_MAX} bytes")));
        }
        std::fs::read(&self.path).map_err(failed)
    }

    /// What is wrong with the file, with where it was named.
    #[must_use]
    pub fn fault(&self, what: &str) -> String {
        format!("{}: {what}", self.named_by)
    }
}

/// A letter alone is no scheme, and a path may contain colons further on.
fn is_scheme(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    text.len() > 1 && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(inner)
}

/// The path of a `file:` URL: `file:/a`, `file:///a` and `file://localhost/a` are the same.
fn local(rest: &str) -> Result<&str, String> {
    let Some(after) = rest.strip_prefix("//") else {
        return Ok(rest);
    };
    match after.find('/').map(|slash| after.split_at(slash)) {
        Some(("" | "localhost", path)) => Ok(path),
        _ => {
            Err(format!("expected a file of this machine, as `file:///path`, found `file:{rest}`"))
        }
    }
}

fn expanded(path: &str) -> Result<PathBuf, String> {
    match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = std::env::var_os("HOME").ok_or_else(|| {
                format!("`{path}`: `~` means the directory in $HOME, which is not set")
            })?;
            Ok(Path::new(&home).join(rest.trim_start_matches('/')))
        }
        _ => Ok(PathBuf::from(path)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn parse(text: &str) -> Result<PathBuf, String> {
        let span = Span { file: Arc::from(Path::new("/app/module.yaml")), line: 7, column: 3 };
        Location::parse(text, "trust_cacerts", &span).map(|location| location.path)
    }

    #[test]
    fn every_form_of_a_location_is_understood() {
        let home = std::env::var("HOME").unwrap();
        for (text, path) in [
            ("/etc/ca.pem", "/etc/ca.pem".to_owned()),
            ("certs/ca.pem", "/app/certs/ca.pem".to_owned()),
            ("classpath:certs/ca.pem", "/app/certs/ca.pem".to_owned()),
            ("classpath:/ca.pem", "/app/ca.pem".to_owned()),
            ("file:/etc/ca.pem", "/etc/ca.pem".to_owned()),
            ("file:///etc/a%20b.pem", "/etc/a b.pem".to_owned()),
            ("file://localhost/etc/ca.pem", "/etc/ca.pem".to_owned()),
            ("file:ca.pem", "/app/ca.pem".to_owned()),
            ("~/ca.pem", format!("{home}/ca.pem")),
            ("file:~/ca.pem", format!("{home}/ca.pem")),
            ("/a/b:c.pem", "/a/b:c.pem".to_owned()),
        ] {
            assert_eq!(parse(text), Ok(PathBuf::from(path)), "{text}");
        }
    }

    #[test]
    fn what_is_no_file_of_this_machine_is_refused() {
        assert!(parse("https://host/ca.pem").unwrap_err().contains("expected a path"));
        assert!(parse("file://host/ca.pem").unwrap_err().contains("of this machine"));
        assert!(parse("classpath:").unwrap_err().contains("the path of a file"));
    }

    #[test]
    fn only_files_of_a_bounded_length_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let span = Span { file: Arc::from(Path::new("/app/module.yaml")), line: 7, column: 3 };
        let location = |path: &Path| Location::parse(path.to_str().unwrap(), "x", &span).unwrap();
        let refusal = location(directory.path()).read().unwrap_err();
        assert!(refusal.contains("expected a file, found something else"), "{refusal}");
        assert!(location(Path::new("/dev/zero")).read().is_err());
        let path = directory.path().join("bundle.pem");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(FILE_BYTES_MAX).unwrap();
        assert_eq!(location(&path).read().unwrap().len() as u64, FILE_BYTES_MAX);
        file.set_len(FILE_BYTES_MAX + 1).unwrap();
        let refusal = location(&path).read().unwrap_err();
        assert!(refusal.contains("is longer than 4194304 bytes"), "{refusal}");
    }

    #[test]
    fn a_missing_file_is_named_with_its_field_and_line() {
        let span = Span { file: Arc::from(Path::new("/app/module.yaml")), line: 7, column: 3 };
        let location = Location::parse("/no/ca.pem", "trust_cacerts", &span).unwrap();
        assert_eq!(
            location.read().unwrap_err(),
            "`trust_cacerts` (/app/module.yaml:7): The requested resource does not exist: /no/ca.pem"
        );
    }
}
