//! Reading `transcripts/*.http`; `transcripts/INDEX.md` tells their form.

use std::path::PathBuf;

use super::wire::Message;

pub struct Exchange {
    pub request: Message,
    pub response: Message,
    /// How long the response's body really was, if it is cut here.
    pub cut: Option<usize>,
}

pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

pub fn read(name: &str) -> Vec<Exchange> {
    let bytes = std::fs::read(directory().join(format!("{name}.http"))).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.split("\n### exchange ")
        .skip(1)
        .map(|exchange| {
            let (_, exchange) = exchange.split_once(">>> request\n").unwrap();
            let (request, response) = exchange.split_once("\n<<< response\n").unwrap();
            let (mut request, told) = message(request);
            expand(&mut request, told);
            let (response, cut) = message(response);
            Exchange { request, response, cut }
        })
        .collect()
}

/// A message, and the length of its body if that is not shown whole.
fn message(text: &str) -> (Message, Option<usize>) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let body = body.trim_end_matches('\n');
    let (body, cut) = match body.rsplit_once("[... ") {
        Some((shown, rest)) if rest.ends_with("the rest is left out]") => {
            (shown.trim_end_matches('\n'), number(rest))
        }
        _ => (body, None),
    };
    let message = Message { first, headers, body: body.as_bytes().to_vec() };
    (message, cut)
}

fn number(text: &str) -> Option<usize> {
    text.split(' ').next()?.parse().ok()
}

/// Makes up what the body of a request only tells about.
fn expand(request: &mut Message, told: Option<usize>) {
    let text = request.text();
    let announced = request.header("content-length").and_then(|length| length.parse().ok());
    let length: usize = announced.or(told).unwrap_or(text.len());
    if let Some(repeated) = text.strip_prefix("[the byte '") {
        request.body = vec![repeated.as_bytes()[0]; length];
    } else if text.ends_with("bytes of binary data]") {
        request.body = vec![0; length];
    } else {
        // The line end after the body is not part of it, but its own last one may be.
        request.body.resize(length, b'\n');
    }
}
