//! Comparing an answer with the recorded one.
//!
//! Tags and file ids differ between servers: the same one in the transcript has to be the same one in
//! the replay, and different ones different. Everything else is compared as it is, XML by structure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::transcript::Exchange;
use super::wire::Message;
use super::xml::{self, DAV, Element, OC};

/// A relation between values of the transcript and of the replay, one to one.
#[derive(Default)]
pub struct Mapping {
    there: BTreeMap<String, String>,
    here: BTreeMap<String, String>,
}

impl Mapping {
    /// Notes that the two mean the same; false if one of them means something else already.
    pub fn same(&mut self, there: &str, here: &str) -> bool {
        let known = |map: &mut BTreeMap<String, String>, key: &str, value: &str| {
            let entry = map.entry(key.to_owned()).or_insert_with(|| value.to_owned());
            entry == value
        };
        known(&mut self.there, there, here) & known(&mut self.here, here, there)
    }

    pub fn here(&self, there: &str) -> Option<&str> {
        self.there.get(there).map(String::as_str)
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.there.iter().map(|(there, here)| (there.as_str(), here.as_str()))
    }
}

#[derive(Default)]
pub struct Known {
    pub tags: Mapping,
    pub ids: Mapping,
}

/// A part of an answer that is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    Exchange,
    Body,
    Header(&'static str),
    /// `s:message`
    Message,
    /// A path into the JSON.
    Json(&'static str),
    /// A property of a multi-status.
    Property(&'static str),
}

/// Headers that have to be there, or not, and to be the same.
const HEADERS: &[&str] = &[
    "accept-ranges",
    "allow",
    "content-disposition",
    "content-encoding",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "ms-author-via",
    "oc-checksum",
    "oc-etag",
    "oc-fileid",
    "retry-after",
    "vary",
    "www-authenticate",
    "x-hash-sha256",
    "x-nextcloud-maintenance-mode",
    "x-oc-ctime",
    "x-oc-mtime",
    "x-user-id",
];

/// Everything that differs, in words.
pub fn compare(
    exchange: &Exchange,
    answer: &Message,
    known: &mut Known,
    leave: &[Leave],
) -> Vec<String> {
    let expected = &exchange.response;
    let mut found = Vec::new();
    if expected.status() != answer.status() {
        found.push(format!("status {} became {}", expected.status(), answer.status()));
    }
    headers(exchange, answer, known, leave, &mut found);
    if leave.contains(&Leave::Body) || exchange.request.word(0) == "HEAD" {
        return found;
    }
    let expected_text = expected.text();
    let kind = expected.header("content-type").unwrap_or_default();
    if kind.starts_with("application/xml") && !expected_text.is_empty() {
        match (xml::parse(&expected.body), xml::parse(&answer.body)) {
            (Ok(there), Ok(here)) if there.is(DAV, "multistatus") => {
                multistatus(&there, &here, known, leave, &mut found);
            }
            (Ok(there), Ok(here)) => error(&there, &here, leave, &mut found),
            (Err(_), _) => {}
            (_, Err(error)) => found.push(format!("no XML: {error}: {}", answer.text())),
        }
    } else if kind.starts_with("application/json") {
        let there: Value = serde_json::from_slice(&expected.body).unwrap();
        match serde_json::from_slice(&answer.body) {
            Ok(here) => json("", &there, &here, leave, &mut found),
            Err(error) => found.push(format!("no JSON: {error}")),
        }
    } else {
        bytes(exchange, answer, &mut found);
    }
    found
}

fn headers(
    exchange: &Exchange,
    answer: &Message,
    known: &mut Known,
    leave: &[Leave],
    found: &mut Vec<String>,
) {
    let expected = &exchange.response;
    let mut names = HEADERS.to_vec();
    if matches!(exchange.request.word(0), "GET" | "HEAD") && kind_is_a_file(expected) {
        names.push("content-length");
    }
    for name in names {
        if leave.contains(&Leave::Header(name)) {
            continue;
        }
        let (there, here) = (expected.header(name), answer.header(name));
        let same = match (there, here) {
            (None, None) => true,
            (Some(there), Some(here)) => match name {
                "etag" | "oc-etag" => tags(there, here, known),
                "oc-fileid" => instance_ids(there, here, known),
                "content-type" => there.eq_ignore_ascii_case(here),
                _ => there == here,
            },
            _ => false,
        };
        if !same {
            found.push(format!("header {name}: {there:?} became {here:?}"));
        }
    }
    if expected.header("dav").is_some() && answer.header("dav").is_none() {
        found.push("header DAV is missing".to_owned());
    }
    let cookies = |message: &Message| {
        let mut names: Vec<String> = message
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
            .filter_map(|(_, value)| Some(value.split_once('=')?.0.to_owned()))
            // PHP tries whether cookies work after a login with the login password.
            .filter(|name| name != "cookie_test")
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let (there, here) = (cookies(expected), cookies(answer));
    if there != here && !leave.contains(&Leave::Header("set-cookie")) {
        found.push(format!("cookies: {there:?} became {here:?}"));
    }
}

fn kind_is_a_file(message: &Message) -> bool {
    message.header("content-disposition").is_some()
}

/// Tags have to be of the same form: 13 or 32 hex digits in quotes, or a version's number.
fn tags(there: &str, here: &str, known: &mut Known) -> bool {
    let (there, here) = (there.trim_matches('"'), here.trim_matches('"'));
    if there.len() < 13 {
        return there == here;
    }
    let hex = here.bytes().all(|b| b.is_ascii_hexdigit());
    hex && there.len() == here.len() && known.tags.same(there, here)
}

fn instance_ids(there: &str, here: &str, known: &mut Known) -> bool {
    let split = |id: &str| {
        let (number, instance) = id.split_at_checked(8)?;
        let number: u64 = number.parse().ok()?;
        Some((number.to_string(), instance.to_owned()))
    };
    match (split(there), split(here)) {
        (Some(there), Some(here)) => there.1 == here.1 && known.ids.same(&there.0, &here.0),
        _ => false,
    }
}

fn bytes(exchange: &Exchange, answer: &Message, found: &mut Vec<String>) {
    let (there, here) = (exchange.response.text(), answer.text());
    let same = match exchange.cut {
        Some(length) => here.starts_with(&there) && answer.body.len() == length,
        None => {
            there.trim_end_matches(['\r', '\n'])
                == here.replace("\r\n", "\n").trim_end_matches('\n')
        }
    };
    if !same {
        found.push(format!("body {there:?} became {here:?}"));
    }
}

fn error(there: &Element, here: &Element, leave: &[Leave], found: &mut Vec<String>) {
    let parts = |error: &Element| -> Vec<(String, String)> {
        let name = |part: &Element| part.name.as_ref().map(|name| name.local.clone());
        error
            .children()
            .filter_map(|part| Some((name(part)?, part.text())))
            .filter(|(name, _)| name != "message" || !leave.contains(&Leave::Message))
            .collect()
    };
    let (there, here) = (parts(there), parts(here));
    if there != here {
        found.push(format!("error {there:?} became {here:?}"));
    }
}

/// `{namespace}name` to status and inner XML.
type Properties = BTreeMap<String, (String, String)>;

fn responses(multistatus: &Element) -> BTreeMap<String, Properties> {
    let mut all = BTreeMap::new();
    for response in multistatus.children().filter(|child| child.is(DAV, "response")) {
        let href = response.child(DAV, "href").map(Element::text).unwrap_or_default();
        let mut properties = Properties::new();
        for group in response.children().filter(|child| child.is(DAV, "propstat")) {
            let status = group.child(DAV, "status").map(Element::text).unwrap_or_default();
            let named = group.child(DAV, "prop").into_iter().flat_map(Element::children);
            for property in named {
                if let Some(name) = &property.name {
                    let value = (status.clone(), property.inner_xml());
                    properties.insert(format!("{{{}}}{}", name.ns, name.local), value);
                }
            }
        }
        all.insert(href, properties);
    }
    all
}

fn multistatus(
    there: &Element,
    here: &Element,
    known: &mut Known,
    leave: &[Leave],
    found: &mut Vec<String>,
) {
    let mut here = responses(here);
    for (href, expected) in responses(there) {
        let mut mapped = href.clone();
        for (id, ours) in known.ids.pairs() {
            mapped = mapped.replace(&format!("/versions/{id}/"), &format!("/versions/{ours}/"));
        }
        let Some(mut properties) = here.remove(&mapped) else {
            found.push(format!("no response for {href}"));
            continue;
        };
        for (name, (status, value)) in expected {
            if leave.iter().any(
                |l| matches!(l, Leave::Property(local) if name.ends_with(&format!("}}{local}"))),
            ) {
                properties.remove(&name);
                continue;
            }
            let Some((our_status, ours)) = properties.remove(&name) else {
                found.push(format!("{href}: no {name}"));
                continue;
            };
            let same = status == our_status && same_property(&name, &value, &ours, known);
            if !same {
                found.push(format!(
                    "{href}: {name} {status} {value:?} became {our_status} {ours:?}"
                ));
            }
        }
        for name in properties.keys() {
            found.push(format!("{href}: {name} is too much"));
        }
    }
    for href in here.keys() {
        found.push(format!("a response too much: {href}"));
    }
}

fn same_property(name: &str, there: &str, here: &str, known: &mut Known) -> bool {
    let dav = |local: &str| name == format!("{{{DAV}}}{local}");
    let oc = |local: &str| name == format!("{{{OC}}}{local}");
    if there.is_empty() || there == here {
        return there == here;
    }
    if dav("getetag") {
        return tags(&there.replace("&quot;", "\""), &here.replace("&quot;", "\""), known);
    }
    if oc("fileid") {
        return known.ids.same(there, here);
    }
    if oc("id") {
        return instance_ids(there, here, known);
    }
    false
}

/// What testcloud answers has to be in the transcript; it need not be all of it.
fn json(path: &str, there: &Value, here: &Value, leave: &[Leave], found: &mut Vec<String>) {
    match (there, here) {
        (Value::Object(there), Value::Object(here)) => {
            for (key, here) in here {
                let path = format!("{path}/{key}");
                if leave.iter().any(|l| matches!(l, Leave::Json(left) if *left == path)) {
                    continue;
                }
                match there.get(key) {
                    Some(there) => json(&path, there, here, leave, found),
                    None => found.push(format!("JSON {path} is too much")),
                }
            }
        }
        _ if there != here => found.push(format!("JSON {path}: {there} became {here}")),
        _ => {}
    }
}
