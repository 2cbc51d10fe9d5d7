//! Where the streams are and as whom they are used: `awsRegion` and `awsCredentials`.

use std::fmt;

use dormouse_sdk::manifest::properties::Properties;
use dormouse_sdk::manifest::{Diagnostics, Fields, Node, values};

/// Which region of AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Region {
    /// What the environment says, by the rules of the AWS libraries.
    #[default]
    Default,
    /// `eu-west-1`.
    Specific(String),
    /// Another server than the region's own.
    CustomEndpoint {
        /// `https://host:port`.
        endpoint: String,
        /// The region whose name requests are signed with.
        id: String,
    },
}

/// As whom.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// What the environment says, by the rules of the AWS libraries.
    #[default]
    Default,
    /// A key that stands in the manifest.
    Basic { access_key_id: String, secret_access_key: String },
    /// A profile of a file of the AWS command line.
    Profile {
        name: String,
        /// `None`: where the AWS libraries look for it.
        path: Option<String>,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("Default"),
            Self::Basic { .. } => f.write_str("Basic"),
            Self::Profile { name, path } => {
                f.debug_struct("Profile").field("name", name).field("path", path).finish()
            }
        }
    }
}

const REGION: &str = "awsRegion";
const CREDENTIALS: &str = "awsCredentials";

const REGION_EXPECTED: &str = "the id of a region, such as `eu-west-1`";

/// The types of a region, before what belongs to them is read.
#[derive(Clone, Copy)]
enum RegionType {
    Default,
    Specific,
    CustomEndpoint,
}

const REGION_TYPES: [(&str, RegionType); 3] = [
    ("default", RegionType::Default),
    ("specific", RegionType::Specific),
    ("custom-endpoint", RegionType::CustomEndpoint),
];

#[derive(Clone, Copy)]
enum CredentialsType {
    Default,
    Basic,
    Profile,
}

const CREDENTIALS_TYPES: [(&str, CredentialsType); 3] = [
    ("default", CredentialsType::Default),
    ("basic", CredentialsType::Basic),
    ("profile", CredentialsType::Profile),
];

/// Reads both. `None`, with errors reported, where something is wrong.
pub fn read(
    fields: &mut Fields<'_>,
    strict: bool,
    diagnostics: &mut Diagnostics,
) -> Option<(Region, Credentials)> {
    let region = fields.optional(REGION);
    let credentials = fields.optional(CREDENTIALS);
    // StateFun's documentation shows regions under the wrong field.
    if let (None, Some(node)) = (region, credentials)
        && is_region(node)
    {
        let message =
            "`awsCredentials` holds a region: it belongs into `awsRegion`, and is taken so";
        diagnostics.warning(&node.span, message);
        return Some((read_region(node, strict, diagnostics)?, Credentials::default()));
    }
    let region = match region {
        None => Some(Region::default()),
        Some(node) => read_region(node, strict, diagnostics),
    };
    let credentials = match credentials {
        None => Some(Credentials::default()),
        Some(node) => read_credentials(node, strict, diagnostics),
    };
    Some((region?, credentials?))
}

/// The `clientConfigProperties` of a component; empty when it has none.
pub fn properties(fields: &mut Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Properties> {
    const FIELD: &str = "clientConfigProperties";
    match fields.optional(FIELD) {
        Some(node) => Properties::read(node, FIELD, diagnostics),
        None => Some(Properties::default()),
    }
}

fn is_region(node: &Node) -> bool {
    let kind = node.get("type").and_then(Node::as_text);
    matches!(kind, Some("specific" | "custom-endpoint"))
}

fn read_region(node: &Node, strict: bool, diagnostics: &mut Diagnostics) -> Option<Region> {
    let mut fields = Fields::of(node, REGION, strict, diagnostics)?;
    let kind = fields
        .required("type", "one of `default`, `specific`, `custom-endpoint`", diagnostics)
        .and_then(|node| values::choice(node, "awsRegion.type", &REGION_TYPES, diagnostics))?;
    let id = |fields: &mut Fields<'_>, diagnostics: &mut Diagnostics| {
        let node = fields.required("id", REGION_EXPECTED, diagnostics)?;
        read_region_id(node, diagnostics)
    };
    let region = match kind {
        RegionType::Default => Some(Region::Default),
        RegionType::Specific => id(&mut fields, diagnostics).map(Region::Specific),
        RegionType::CustomEndpoint => {
            let endpoint = fields
                .required("endpoint", "a URL such as `https://host:4567`", diagnostics)
                .and_then(|node| read_endpoint(node, diagnostics));
            let id = id(&mut fields, diagnostics);
            endpoint.zip(id).map(|(endpoint, id)| Region::CustomEndpoint { endpoint, id })
        }
    };
    fields.finish(diagnostics);
    region
}

fn read_region_id(node: &Node, diagnostics: &mut Diagnostics) -> Option<String> {
    let text = values::text(node, "awsRegion.id", diagnostics)?.trim();
    let is_usual = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.bytes().all(is_usual) && text.contains('-') {
        return Some(text.to_owned());
    }
    values::mismatch(node, "awsRegion.id", REGION_EXPECTED, diagnostics);
    None
}

/// The scheme has to be https, as in StateFun: keys and records would be sent in the clear otherwise.
fn read_endpoint(node: &Node, diagnostics: &mut Diagnostics) -> Option<String> {
    let text = values::text(node, "awsRegion.endpoint", diagnostics)?.trim();
    let host = text.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.is_some_and(|host| !host.is_empty() && host.chars().all(is_host)) {
        return Some(text.to_owned());
    }
    let expected = "a URL such as `https://host:4567` (only https is supported)";
    values::mismatch(node, "awsRegion.endpoint", expected, diagnostics);
    None
}

fn read_credentials(
    node: &Node,
    strict: bool,
    diagnostics: &mut Diagnostics,
) -> Option<Credentials> {
    let mut fields = Fields::of(node, CREDENTIALS, strict, diagnostics)?;
    let kind =
        fields.required("type", "one of `default`, `basic`, `profile`", diagnostics).and_then(
            |node| values::choice(node, "awsCredentials.type", &CREDENTIALS_TYPES, diagnostics),
        )?;
    let credentials = match kind {
        CredentialsType::Default => Some(Credentials::Default),
        CredentialsType::Basic if is_profile(node) => {
            let message = "`awsCredentials` of type `basic` holds a profile, and is taken for one: write \
                           `type: profile`";
            diagnostics.warning(&node.span, message);
            read_profile(&mut fields, diagnostics)
        }
        CredentialsType::Basic => read_basic(&mut fields, diagnostics),
        CredentialsType::Profile => read_profile(&mut fields, diagnostics),
    };
    fields.finish(diagnostics);
    credentials
}

/// StateFun's documentation shows a profile with the type of a key.
fn is_profile(node: &Node) -> bool {
    let has = |name| node.get(name).is_some();
    has("profileName") && !has("accessKeyId") && !has("secretAccessKey")
}

fn read_basic(fields: &mut Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Credentials> {
    let access_key_id = fields
        .required("accessKeyId", "the id of an access key", diagnostics)
        .and_then(|node| values::text(node, "awsCredentials.accessKeyId", diagnostics));
    let secret_access_key = fields
        .required("secretAccessKey", "the secret of the access key", diagnostics)
        .and_then(|node| values::text(node, "awsCredentials.secretAccessKey", diagnostics));
    Some(Credentials::Basic {
        access_key_id: access_key_id?.to_owned(),
        secret_access_key: secret_access_key?.to_owned(),
    })
}

fn read_profile(fields: &mut Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Credentials> {
    let name = fields
        .required("profileName", "the name of a profile", diagnostics)
        .and_then(|node| values::text(node, "awsCredentials.profileName", diagnostics));
    let path = match fields.optional("profilePath") {
        None => Some(None),
        Some(node) => values::text(node, "awsCredentials.profilePath", diagnostics).map(Some),
    };
    Some(Credentials::Profile { name: name?.to_owned(), path: path?.map(str::to_owned) })
}
