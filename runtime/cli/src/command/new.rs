//! `dormouse new NAME`: an application in Rust that builds, runs and has a test. It depends on the
//! checkout that built this binary while that exists, else on the release of the same version.

use std::fs;
use std::io;
use std::path::Path;

use crate::args::NewArguments;
use crate::failure::Failure;
use crate::report;

/// What the files of an application hold; `NAME` is replaced.
const FILES: [(&str, &str); 4] = [
    ("src/main.rs", include_str!("new/main.rs.template")),
    ("module.yaml", include_str!("new/module.yaml.template")),
    ("tests/greeter.rs", include_str!("new/test.rs.template")),
    (".gitignore", "/target\n.dormouse\n"),
];

/// Names that cargo or the compiler has a use for, or that a dependency has.
const TAKEN: &str = "abstract alloc as async await become box break build const continue core crate \
    deps do dormouse dormouse-sdk dyn else enum examples extern false final fn for gen if impl in \
    incremental let loop macro match mod move mut override priv proc-macro pub ref return self \
    static std struct super test trait true try type typeof unsafe unsized use virtual where while \
    yield";

/// A package's name can be a directory's, so it has a bound, in bytes.
const NAME_BYTES_MAX: usize = 64;

pub(crate) fn new(arguments: &NewArguments) -> Result<(), Failure> {
    let name = arguments.name.as_str();
    check_name(name)?;
    let directory = Path::new(name);
    fs::create_dir(directory).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Input(format!("{name}: exists already; choose another name"))
        }
        _ => Failure::Failed(format!("{name}: {error}")),
    })?;
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let checkout = checkout.filter(|root| root.join("sdk/Cargo.toml").is_file());
    write(&directory.join("Cargo.toml"), &cargo_toml(name, checkout))?;
    for (file, template) in FILES {
        write(&directory.join(file), &template.replace("NAME", name))?;
    }
    report::answer(format_args!(
        "made {name}: a function in src/main.rs, a manifest in module.yaml, a test in tests/greeter.rs\n\
         \n  cd {name}\n  cargo run --release -- run\n  \
         curl -d World 'http://127.0.0.1:8080/{name}/greeter/Bob?wait=5s'"
    ));
    Ok(())
}

fn check_name(name: &str) -> Result<(), Failure> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || !name.chars().all(fits) || name.len() > NAME_BYTES_MAX {
        return Err(Failure::Input(format!(
            "{name:?} cannot be the name of an application: expected a small letter, then small \
             letters, digits, `-` and `_`, {NAME_BYTES_MAX} at most"
        )));
    }
    if TAKEN.split_whitespace().any(|taken| taken == name) {
        return Err(Failure::Input(format!(
            "{name:?} cannot be the name of an application: Rust or cargo has a use for it; choose \
             another one"
        )));
    }
    Ok(())
}

fn cargo_toml(name: &str, checkout: Option<&Path>) -> String {
    let dependency = |folder: &str| match checkout {
        Some(root) => format!("{{ path = {:?} }}", root.join(folder).display().to_string()),
        None => format!(
            "{{ git = {:?}, tag = \"v{}\" }}",
            env!("CARGO_PKG_REPOSITORY"),
            env!("CARGO_PKG_VERSION")
        ),
    };
    let (dormouse, sdk) = (dependency("runtime/cli"), dependency("sdk"));
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n\
         [dependencies]\n\
         dormouse = {dormouse} # the runtime, its modules and its command line\n\
         dormouse-sdk = {sdk} # what functions are written with\n\n\
         [profile.release]\n\
         panic = \"unwind\" # a panic in a function is its failure, not the end of the process\n\n\
         # On its own wherever it lies; remove this line to make it a member of a workspace.\n\
         [workspace]\n"
    )
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, text));
    written.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_refuses_are_refused() {
        for name in ["shop", "my-shop", "my_shop2", "tests"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "Shop", "2shop", "a/b", "..", "a b", "fn", "dormouse", "test", "-x"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name(&"x".repeat(65)).is_err());
    }

    #[test]
    fn without_the_checkout_the_release_is_used() {
        let text = cargo_toml("shop", None);
        assert!(text.contains("git = \"https://github.com/dormouse-runtime/dormouse\""), "{text}");
        assert!(text.contains(concat!("tag = \"v", env!("CARGO_PKG_VERSION"), "\"")), "{text}");
        let text = cargo_toml("shop", Some(Path::new("/src/dormouse")));
        assert!(text.contains("dormouse-sdk = { path = \"/src/dormouse/sdk\" }"), "{text}");
    }
}
