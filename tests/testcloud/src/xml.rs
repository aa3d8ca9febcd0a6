//! XML in and out: a small tree for request bodies, multi-status answers, names with namespaces.

use std::fmt::Write as _;

use quick_xml::escape::escape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

pub(crate) const DAV: &str = "DAV:";
pub(crate) const OC: &str = "http://owncloud.org/ns";
pub(crate) const NC: &str = "http://nextcloud.org/ns";

/// What every answer declares; other namespaces are declared where they are used.
pub(crate) const NAMESPACES: &str = r#"xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns" xmlns:oc="http://owncloud.org/ns" xmlns:nc="http://nextcloud.org/ns""#;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub ns: String,
    pub local: String,
}

impl Name {
    pub(crate) fn new(ns: &str, local: &str) -> Self {
        Self { ns: ns.to_owned(), local: local.to_owned() }
    }

    pub(crate) fn is(&self, ns: &str, local: &str) -> bool {
        self.ns == ns && self.local == local
    }

    /// Writes `<d:name>value</d:name>`; `value` is XML already.
    pub(crate) fn write(&self, value: &str, out: &mut String) {
        let (prefix, declaration) = match self.ns.as_str() {
            DAV => ("d:", String::new()),
            OC => ("oc:", String::new()),
            NC => ("nc:", String::new()),
            "" => ("", String::new()),
            other => ("x1:", format!(" xmlns:x1=\"{}\"", escape(other))),
        };
        let local = &self.local;
        // Writing to a String cannot fail.
        let _ = match value {
            "" => write!(out, "<{prefix}{local}{declaration}/>"),
            _ => write!(out, "<{prefix}{local}{declaration}>{value}</{prefix}{local}>"),
        };
    }
}

#[derive(Debug, Default)]
pub(crate) struct Element {
    pub name: Option<Name>,
    pub attributes: Vec<(String, String)>,
    pub content: Vec<Content>,
}

#[derive(Debug)]
pub(crate) enum Content {
    Element(Element),
    Text(String),
}

impl Element {
    pub(crate) fn is(&self, ns: &str, local: &str) -> bool {
        self.name.as_ref().is_some_and(|name| name.is(ns, local))
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = &Element> {
        self.content.iter().filter_map(|content| match content {
            Content::Element(element) => Some(element),
            Content::Text(_) => None,
        })
    }

    pub(crate) fn child(&self, ns: &str, local: &str) -> Option<&Element> {
        self.children().find(|element| element.is(ns, local))
    }

    /// All text directly inside.
    pub(crate) fn text(&self) -> String {
        self.content
            .iter()
            .filter_map(|content| match content {
                Content::Text(text) => Some(text.as_str()),
                Content::Element(_) => None,
            })
            .collect()
    }

    /// What is inside, as XML with the answer's prefixes.
    pub(crate) fn inner_xml(&self) -> String {
        let mut out = String::new();
        for content in &self.content {
            match content {
                Content::Text(text) => out.push_str(&escape(text.as_str())),
                Content::Element(element) => element.write(&mut out),
            }
        }
        out
    }

    fn write(&self, out: &mut String) {
        let Some(name) = &self.name else { return };
        let mut tag = String::new();
        name.write(&self.inner_xml(), &mut tag);
        let attributes = self.attributes.iter().fold(String::new(), |mut text, (key, value)| {
            let _ = write!(text, " {key}=\"{}\"", escape(value.as_str()));
            text
        });
        let end = tag.find([' ', '>', '/']).unwrap_or(tag.len());
        tag.insert_str(end, &attributes);
        out.push_str(&tag);
    }
}

/// Parses a request body; the error is text for the answer.
pub(crate) fn parse(body: &[u8]) -> Result<Element, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut reader = NsReader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|error| error.to_string())?;
        let namespace = match namespace {
            ResolveResult::Bound(namespace) => namespace.as_ref().to_owned(),
            _ => String::new(),
        };
        match event {
            Event::Start(start) => open.push(element(&namespace, &start)?),
            Event::Empty(start) => append(&mut open, element(&namespace, &start)?),
            Event::End(_) => {
                if let Some(done) = open.pop() {
                    append(&mut open, done);
                }
            }
            Event::Text(text) => append_text(&mut open, &text.xml10_content()),
            Event::CData(text) => append_text(&mut open, &text.xml10_content()),
            Event::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref() {
                    Ok(Some(c)) => c.to_string(),
                    _ => quick_xml::escape::resolve_predefined_entity(&reference.xml10_content())
                        .ok_or("unknown entity")?
                        .to_owned(),
                };
                append_text(&mut open, &resolved);
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    let document = open.pop().unwrap_or_default();
    if !open.is_empty() {
        return Err("Premature end of data".to_owned());
    }
    document
        .content
        .into_iter()
        .find_map(|content| match content {
            Content::Element(element) => Some(element),
            Content::Text(_) => None,
        })
        .ok_or_else(|| "Document is empty".to_owned())
}

fn element(namespace: &str, start: &BytesStart<'_>) -> Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let key = attribute.key.as_ref().to_owned();
        if key != "xmlns" && !key.starts_with("xmlns:") {
            let value = attribute
                .normalized_value(quick_xml::XmlVersion::Implicit1_0)
                .map_err(|error| error.to_string())?;
            attributes.push((key, value.into_owned()));
        }
    }
    Ok(Element {
        name: Some(Name::new(namespace, start.local_name().as_ref())),
        attributes,
        content: Vec::new(),
    })
}

fn append(open: &mut [Element], element: Element) {
    if let Some(parent) = open.last_mut() {
        parent.content.push(Content::Element(element));
    }
}

fn append_text(open: &mut [Element], text: &str) {
    if let Some(parent) = open.last_mut() {
        parent.content.push(Content::Text(text.to_owned()));
    }
}

/// A `d:multistatus` being written.
pub(crate) struct Multistatus(String);

impl Multistatus {
    pub(crate) fn new() -> Self {
        Self(format!("<?xml version=\"1.0\"?>\n<d:multistatus {NAMESPACES}>"))
    }

    /// One `d:response`; property values are XML already, groups without properties are left out.
    pub(crate) fn response(&mut self, href: &str, groups: &[(&str, Vec<(&Name, String)>)]) {
        let out = &mut self.0;
        out.push_str("<d:response><d:href>");
        out.push_str(href);
        out.push_str("</d:href>");
        for (status, properties) in groups.iter().filter(|(_, some)| !some.is_empty()) {
            out.push_str("<d:propstat><d:prop>");
            for (name, value) in properties {
                name.write(value, out);
            }
            out.push_str("</d:prop><d:status>HTTP/1.1 ");
            out.push_str(status);
            out.push_str("</d:status></d:propstat>");
        }
        out.push_str("</d:response>");
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push_str("</d:multistatus>");
        self.0
    }
}
