//! The live properties of files and folders (the table of FACTS 2).

use std::fmt::Write as _;

use quick_xml::escape::escape;

use super::conditions::format_date;
use crate::cloud::Account;
use crate::shares::Share;
use crate::stamps::Stamps;
use crate::tree::Node;
use crate::xml::{DAV, NC, Name, OC};

/// Bodyless, `allprop` and `propname` requests all get these (FACTS 2).
pub(super) const DEFAULT: [&str; 5] =
    ["getlastmodified", "getcontentlength", "resourcetype", "getetag", "getcontenttype"];

const FOLDER: &str = "<d:collection/>";

/// Whose files they are, and what else a property may tell.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    pub owner: &'a str,
    pub account: &'a Account,
    pub stamps: &'a Stamps,
    pub fingerprint: &'a str,
    /// The received share that they are in.
    pub share: Option<&'a Share>,
    /// The share is seen from the folder around it.
    pub around: bool,
}

impl Home<'_> {
    /// Whether a node is what is shared.
    fn is_share(&self, node: &Node) -> bool {
        self.share.is_some_and(|share| share.node == node.id)
    }
}

/// The value of a property as XML; none is a 404 in the answer.
pub(super) fn live(name: &Name, node: &Node, home: Home<'_>) -> Option<String> {
    match name.ns.as_str() {
        DAV => dav(&name.local, node, home),
        OC => oc(&name.local, node, home),
        NC => nc(&name.local, node, home),
        _ => None,
    }
}

fn dav(local: &str, node: &Node, Home { owner, account, .. }: Home<'_>) -> Option<String> {
    let file = node.file();
    match local {
        "getlastmodified" => Some(format_date(node.mtime)),
        "getcontentlength" => file.map(|file| file.size.to_string()),
        "getcontenttype" => file.map(|_| content_type(&node.name).to_owned()),
        "resourcetype" => Some(if file.is_some() { "" } else { FOLDER }.to_owned()),
        "creationdate" => Some(rfc3339(node.created)),
        // Of the root; every other one has its name.
        "displayname" => Some(escape(owner).into_owned()),
        "quota-used-bytes" if file.is_none() => Some(node.size().to_string()),
        // -3: unlimited
        "quota-available-bytes" if file.is_none() => {
            Some(account.available().map_or("-3".to_owned(), |bytes| bytes.to_string()))
        }
        "current-user-principal" => Some(principal(owner)),
        "supported-report-set" => Some(reports()),
        "supported-method-set" => Some(methods()),
        _ => None,
    }
}

fn oc(local: &str, node: &Node, home: Home<'_>) -> Option<String> {
    let Home { owner, stamps, fingerprint, .. } = home;
    match local {
        "fileid" => Some(node.id.to_string()),
        "id" => Some(stamps.instance_file_id(node.id)),
        "size" => Some(node.size().to_string()),
        "permissions" => Some(match home.share {
            Some(share) => share.letters(node, home.around),
            None => if node.is_folder() { "RGDNVCK" } else { "RGDNVW" }.to_owned(),
        }),
        "checksums" => {
            let checksums = node.file()?.checksums.as_deref()?;
            let mut xml = String::new();
            Name::new(OC, "checksum").write(&escape(checksums), &mut xml);
            Some(xml)
        }
        "owner-id" | "owner-display-name" => Some(escape(owner).into_owned()),
        "share-types" if home.is_share(node) => Some("<oc:share-type>0</oc:share-type>".to_owned()),
        "share-types" => Some(String::new()),
        "data-fingerprint" => Some(escape(fingerprint).into_owned()),
        "favorite" => Some("0".to_owned()),
        _ => None,
    }
}

fn nc(local: &str, node: &Node, home: Home<'_>) -> Option<String> {
    let account = home.account;
    let children = |folders: bool| {
        let children = node.children()?;
        let is_folder = |id| account.tree.node(id).is_some_and(Node::is_folder);
        let count = children.values().filter(|id| is_folder(**id) == folders).count();
        Some(count.to_string())
    };
    match local {
        "creation_time" => Some(node.created.to_string()),
        "upload_time" => node.file().map(|file| file.uploaded.to_string()),
        "mount-type" if home.share.is_some() => Some("shared".to_owned()),
        "mount-type" | "sharees" => Some(String::new()),
        "note" => home.share.map(|_| String::new()),
        "is-mount-root" => Some(home.is_share(node).to_string()),
        "hidden" => Some("false".to_owned()),
        "has-preview" => {
            let preview = node.file().is_some() && has_preview(content_type(&node.name));
            Some(preview.to_string())
        }
        "contained-folder-count" => children(true),
        "contained-file-count" => children(false),
        "share-attributes" => Some("[]".to_owned()),
        _ => None,
    }
}

pub(super) fn principal(user: &str) -> String {
    format!("<d:href>/remote.php/dav/principals/users/{}/</d:href>", crate::path::encode(user))
}

/// `d:lastmodified`, `nc:creation_time` and `d:getetag` can be set; these cannot (FACTS 5).
pub(super) fn is_protected(name: &Name) -> bool {
    let known: &[&str] = match name.ns.as_str() {
        DAV => &[
            "getlastmodified",
            "getcontentlength",
            "getcontenttype",
            "resourcetype",
            "creationdate",
            "quota-used-bytes",
            "quota-available-bytes",
            "current-user-principal",
            "supported-report-set",
            "supported-method-set",
        ],
        OC => &[
            "fileid",
            "id",
            "size",
            "permissions",
            "checksums",
            "owner-id",
            "owner-display-name",
            "share-types",
            "data-fingerprint",
        ],
        NC => &["upload_time", "mount-type", "is-mount-root", "has-preview"],
        _ => &[],
    };
    known.contains(&name.local.as_str())
}

fn reports() -> String {
    let names = [
        "d:expand-property",
        "d:principal-match",
        "d:principal-property-search",
        "d:principal-search-property-set",
        "oc:filter-comments",
        "oc:filter-files",
    ];
    names.iter().fold(String::new(), |mut xml, name| {
        // Writing to a String cannot fail.
        let _ =
            write!(xml, "<d:supported-report><d:report><{name}/></d:report></d:supported-report>");
        xml
    })
}

fn methods() -> String {
    super::ALLOWED.split(", ").fold(String::new(), |mut xml, method| {
        let _ = write!(xml, "<d:supported-method name=\"{method}\"/>");
        xml
    })
}

/// By extension, as the server guesses.
pub(super) fn content_type(name: &str) -> &'static str {
    let extension = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension.to_ascii_lowercase(),
        _ => String::new(),
    };
    match extension.as_str() {
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        "py" => "text/x-python",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "tar" => "application/x-tar",
        _ => "application/octet-stream",
    }
}

fn has_preview(content_type: &str) -> bool {
    matches!(
        content_type,
        "text/plain" | "text/markdown" | "image/png" | "image/jpeg" | "image/gif"
    )
}

/// `2023-11-14T22:13:20+00:00`; days are counted from 1970-03-01 in eras of 400 years.
fn rfc3339(second: i64) -> String {
    let (days, second) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    let since_march_0000 = days + 719_468;
    let (era, day_of_era) =
        (since_march_0000.div_euclid(146_097), since_march_0000.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}+00:00",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00+00:00");
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20+00:00");
        assert_eq!(rfc3339(1_709_210_096), "2024-02-29T12:34:56+00:00");
    }
}
