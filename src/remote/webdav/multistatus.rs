//! A parser of 207 answers (RFC 4918, 14.16) that never holds more than one `response`.
//!
//! Guarantees: the same responses whatever pieces the bytes come in; a document that ends before
//! its root element does is an error, never a short listing; no input makes it hold more than
//! [`EVENT_MAX`] bytes of one tag or text, or nest deeper than [`DEPTH_MAX`]. A document type
//! declaration is refused: with it entities could be defined. The number of responses is the
//! caller's to bound.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use quick_xml::NsReader;
use quick_xml::events::{BytesRef, Event};
use quick_xml::name::ResolveResult;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use super::properties::{Namespace, Properties, Property};
use crate::remote::{RemoteError, Result};

/// Most bytes of one tag, comment or run of text. An href of the longest path that a Nextcloud takes
/// has 12 KiB (FACTS 3).
pub const EVENT_MAX: usize = 64 * 1024;
/// Most bytes of the text of one element that is read.
const TEXT_MAX: usize = 64 * 1024;
/// Deepest nesting: six levels are what is asked for.
pub const DEPTH_MAX: usize = 32;

/// What the server said of one href.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Percent-encoded and untrusted.
    pub href: String,
    /// Status of the whole response; its properties have their own.
    pub status: Option<u16>,
    /// The properties with a status of 200 to 299.
    pub properties: Properties,
    /// A status outside of that which some properties have.
    pub refused: Option<u16>,
    /// Whether any properties had a status of 200 to 299.
    pub granted: bool,
}

/// Where in the document the parser stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Multistatus,
    Response,
    Href,
    Status,
    Propstat,
    PropstatStatus,
    Prop,
    Property(Property),
    Collection,
    Checksum,
    Ignored,
}

impl At {
    /// Where an element inside of `parent` leads.
    fn inside(parent: Self, namespace: Namespace, local: &str) -> Self {
        match (parent, namespace, local) {
            (Self::Multistatus, Namespace::Dav, "response") => Self::Response,
            (Self::Response, Namespace::Dav, "href") => Self::Href,
            (Self::Response, Namespace::Dav, "status") => Self::Status,
            (Self::Response, Namespace::Dav, "propstat") => Self::Propstat,
            (Self::Propstat, Namespace::Dav, "status") => Self::PropstatStatus,
            (Self::Propstat, Namespace::Dav, "prop") => Self::Prop,
            (Self::Prop, namespace, local) => {
                Property::named(namespace, local).map_or(Self::Ignored, Self::Property)
            }
            (Self::Property(Property::Kind), Namespace::Dav, "collection") => Self::Collection,
            (Self::Property(Property::Checksums), Namespace::Owncloud, "checksum") => {
                Self::Checksum
            }
            _ => Self::Ignored,
        }
    }

    /// Whether the element's text is of use.
    fn has_text(self) -> bool {
        match self {
            Self::Href | Self::Status | Self::PropstatStatus | Self::Checksum => true,
            Self::Property(property) => !matches!(property, Property::Kind | Property::Checksums),
            _ => false,
        }
    }
}

/// The parser: give it a reader, take responses out.
pub struct Multistatus<R> {
    reader: NsReader<Bounded<R>>,
    event: Vec<u8>,
    state: State,
}

/// What has been understood of the document so far.
#[derive(Default)]
struct State {
    open: Vec<At>,
    ended: bool,
    text: String,
    response: Response,
    propstat: Properties,
    propstat_status: Option<u16>,
}

impl<R: AsyncBufRead + Unpin> Multistatus<R> {
    pub fn new(reader: R) -> Self {
        let mut reader = NsReader::from_reader(Bounded { inner: reader, left: EVENT_MAX });
        reader.config_mut().expand_empty_elements = true;
        Self { reader, event: Vec::new(), state: State::default() }
    }

    /// The next response; `None` once the document has ended well.
    pub async fn next(&mut self) -> Result<Option<Response>> {
        while !self.state.ended {
            self.event.clear();
            self.reader.get_mut().left = EVENT_MAX;
            let (namespace, event) = self
                .reader
                .read_resolved_event_into_async(&mut self.event)
                .await
                .map_err(unreadable)?;
            let namespace = match namespace {
                ResolveResult::Bound(uri) => Namespace::of(uri.0),
                ResolveResult::Unbound | ResolveResult::Unknown(_) => Namespace::Other,
            };
            if let Some(response) = self.state.take(namespace, event)? {
                return Ok(Some(response));
            }
        }
        Ok(None)
    }
}

impl State {
    fn take(&mut self, namespace: Namespace, event: Event<'_>) -> Result<Option<Response>> {
        match event {
            Event::Start(tag) => self.start(namespace, tag.local_name().as_ref())?,
            Event::End(_) => return Ok(self.end()),
            Event::Text(text) => self.text(&text.xml10_content())?,
            Event::CData(text) => self.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => match resolve(&reference) {
                Some(c) => self.text(c.encode_utf8(&mut [0; 4]))?,
                None => return Err(protocol("an unknown entity")),
            },
            Event::DocType(_) => return Err(protocol("a document type declaration")),
            Event::Eof => return Err(RemoteError::NoAnswer("the listing was cut short".into())),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
        Ok(None)
    }

    fn start(&mut self, namespace: Namespace, local: &str) -> Result<()> {
        if self.open.len() >= DEPTH_MAX {
            return Err(protocol("elements nested too deep"));
        }
        let at = match self.open.last() {
            Some(parent) => At::inside(*parent, namespace, local),
            None if namespace == Namespace::Dav && local == "multistatus" => At::Multistatus,
            None => return Err(protocol("something that is not a listing")),
        };
        match at {
            At::Response => self.response = Response::default(),
            At::Propstat => (self.propstat, self.propstat_status) = Default::default(),
            At::Collection => self.propstat.is_dir = Some(true),
            _ => {}
        }
        self.text.clear();
        self.open.push(at);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<()> {
        if self.open.last().is_some_and(|at| at.has_text()) {
            if self.text.len() + text.len() > TEXT_MAX {
                return Err(protocol("a text that is too long"));
            }
            self.text.push_str(text);
        }
        Ok(())
    }

    fn end(&mut self) -> Option<Response> {
        let at = self.open.pop();
        self.ended = self.open.is_empty();
        match at? {
            At::Href => self.response.href = std::mem::take(&mut self.text),
            At::Status => self.response.status = status(&self.text),
            At::PropstatStatus => self.propstat_status = status(&self.text),
            At::Property(property) => self.propstat.set(property, &self.text),
            At::Checksum => self.propstat.add_checksums(&self.text),
            At::Propstat => self.end_propstat(),
            At::Response => return Some(std::mem::take(&mut self.response)),
            At::Multistatus | At::Prop | At::Collection | At::Ignored => {}
        }
        self.text.clear();
        None
    }

    fn end_propstat(&mut self) {
        match self.propstat_status {
            Some(200..300) => {
                self.response.granted = true;
                self.response.properties.adopt(std::mem::take(&mut self.propstat));
            }
            other => self.response.refused = other.or(Some(0)),
        }
    }
}

/// The code in `HTTP/1.1 200 OK`.
fn status(text: &str) -> Option<u16> {
    text.split_whitespace().nth(1)?.parse().ok()
}

/// The character that `&..;` stands for.
pub fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    if let Ok(Some(c)) = reference.resolve_char_ref() {
        return Some(c);
    }
    match &*reference.xml10_content() {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

fn protocol(what: &str) -> RemoteError {
    RemoteError::Protocol(format!("in place of a listing came {what}"))
}

/// A body that failed on its way keeps its own error.
fn unreadable(error: quick_xml::Error) -> RemoteError {
    if let quick_xml::Error::Io(error) = &error
        && let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<RemoteError>())
    {
        return error.clone();
    }
    match error {
        quick_xml::Error::Syntax(_) => RemoteError::NoAnswer("the listing was cut short".into()),
        error => RemoteError::Protocol(format!("the listing cannot be read: {error}")),
    }
}

/// A reader that fails when one event takes more than what is `left`.
struct Bounded<R> {
    inner: R,
    left: usize,
}

impl<R: AsyncBufRead + Unpin> AsyncBufRead for Bounded<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(Err(io::Error::other(protocol("an element that is too long"))));
        }
        let left = this.left;
        Pin::new(&mut this.inner).poll_fill_buf(cx).map_ok(|bytes| &bytes[..bytes.len().min(left)])
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        this.left = this.left.saturating_sub(amount);
        Pin::new(&mut this.inner).consume(amount);
    }
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Bounded<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = std::task::ready!(self.as_mut().poll_fill_buf(cx))?;
        let amount = bytes.len().min(buf.remaining());
        buf.put_slice(&bytes[..amount]);
        self.consume(amount);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "multistatus_tests.rs"]
mod tests;
