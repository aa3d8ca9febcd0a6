use bytes::Bytes;
use futures_util::stream;
use proptest::prelude::*;
use tokio_util::io::StreamReader;

use super::*;

/// Real answers of a Nextcloud.
const RECORDED: [&str; 6] = [
    include_str!("../../../tests/testcloud/transcripts/propfind-dir-fs.http"),
    include_str!("../../../tests/testcloud/transcripts/propfind-dir-all.http"),
    include_str!("../../../tests/testcloud/transcripts/propfind-depth-infinity.http"),
    include_str!("../../../tests/testcloud/transcripts/propfind-prefer-minimal.http"),
    include_str!("../../../tests/testcloud/transcripts/names-encoding.http"),
    include_str!("../../../tests/testcloud/transcripts/proppatch-mtime.http"),
];

fn documents() -> Vec<&'static str> {
    let end = "</d:multistatus>";
    let documents = RECORDED.iter().flat_map(|transcript| {
        transcript.split("<?xml version=\"1.0\"?>\n<d:multistatus").skip(1).filter_map(|rest| {
            let start = rest.as_ptr() as usize - transcript.as_ptr() as usize;
            let length = rest.find(end)? + end.len();
            Some(&transcript[start - "<d:multistatus".len()..start + length])
        })
    });
    documents.collect()
}

/// Parses a document that comes in pieces of these lengths, over and over.
fn parse(document: &[u8], lengths: &[usize]) -> Result<Vec<Response>> {
    let mut pieces = Vec::new();
    let (mut rest, mut lengths) = (document, lengths.iter().cycle());
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
        pieces.push(Ok::<_, io::Error>(Bytes::copy_from_slice(piece)));
        rest = others;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut parser = Multistatus::new(StreamReader::new(stream::iter(pieces)));
        let mut responses = Vec::new();
        while let Some(response) = parser.next().await? {
            responses.push(response);
        }
        Ok(responses)
    })
}

fn whole(document: &str) -> Result<Vec<Response>> {
    parse(document.as_bytes(), &[usize::MAX])
}

/// A listing of one file with these properties.
fn listing(propstats: &str) -> String {
    format!(
        "<multistatus xmlns=\"DAV:\" xmlns:oc=\"http://owncloud.org/ns\"><response>\
         <href>/f</href>{propstats}</response></multistatus>"
    )
}

#[test]
fn recorded_listings_are_understood() {
    let all: Vec<Response> = documents().iter().flat_map(|text| whole(text).unwrap()).collect();
    assert!(all.len() > 40, "{}", all.len());
    let file = all.iter().find(|one| one.href.ends_with("/t1/a.txt")).unwrap();
    let known = &file.properties;
    assert_eq!(known.tag.as_ref().unwrap().0.len(), 34);
    assert_eq!((known.length, known.is_dir), (Some(5), Some(false)));
    assert_eq!(known.modified, Some(1_700_000_000));
    assert_eq!(known.permissions.as_deref(), Some("RGDNVW"));
    let folder = all.iter().find(|one| one.href.ends_with("/t1/")).unwrap();
    assert_eq!((folder.properties.is_dir, folder.properties.length), (Some(true), None));
    assert!(all.iter().any(|one| one.refused == Some(403)), "of proppatch-mtime");
    assert!(all.iter().any(|one| one.properties.checksum.is_some()));
}

#[test]
fn properties_are_known_by_namespace_whatever_the_prefix() {
    let text = "<a:multistatus xmlns:a=\"DAV:\"><a:response><a:href>/f</a:href><a:propstat>\
        <a:prop><x1:fileid xmlns:x1=\"http://owncloud.org/ns\">7</x1:fileid>\
        <d:getetag xmlns:d=\"urn:other\">\"no\"</d:getetag></a:prop>\
        <a:status>HTTP/1.1 200 OK</a:status></a:propstat></a:response></a:multistatus>";
    let known = &whole(text).unwrap()[0].properties;
    assert_eq!(known.file_id.as_ref().map(|id| &*id.0), Some("7"));
    assert_eq!(known.tag, None);
}

#[test]
fn only_properties_with_a_good_status_count_wherever_the_status_stands() {
    let text = listing(
        "<propstat><status>HTTP/1.1 404 Not Found</status><prop><oc:size>1</oc:size></prop>\
         </propstat><propstat><prop><oc:fileid>7</oc:fileid></prop><status>HTTP/1.1 200 OK\
         </status></propstat><propstat><prop><getetag>\"x\"</getetag></prop></propstat>",
    );
    let response = &whole(&text).unwrap()[0];
    assert_eq!(response.properties.size, None);
    assert_eq!(response.properties.tag, None);
    assert!(response.properties.file_id.is_some() && response.granted);
}

#[test]
fn references_and_literal_sections_are_resolved() {
    let text = listing("<status>HTTP/1.1 200 OK</status>")
        .replace("/f", "/a&amp;b&#x2f;&#99;<![CDATA[<d>]]>");
    assert_eq!(whole(&text).unwrap()[0].href, "/a&b/c<d>");
}

#[test]
fn every_truncated_document_is_an_error() {
    let document = documents()[0];
    for end in 0..document.len() {
        let cut = parse(&document.as_bytes()[..end], &[7]);
        assert!(cut.is_err(), "{end} of {} bytes", document.len());
    }
}

#[test]
fn what_is_not_a_listing_is_an_error() {
    for text in [
        "",
        "<html><body>Log in</body></html>",
        "<multistatus/>",
        "{\"ocs\":{}}",
        "<!DOCTYPE d [<!ENTITY e \"x\">]><multistatus xmlns=\"DAV:\"/>",
        "<multistatus xmlns=\"DAV:\"><response><href>&e;</href></response></multistatus>",
        "<multistatus xmlns=\"DAV:\"><response></multistatus></response>",
    ] {
        assert!(whole(text).is_err(), "{text}");
    }
}

#[test]
fn hostile_sizes_and_depths_are_refused() {
    let long = "x".repeat(EVENT_MAX + 1);
    let deep = "<a>".repeat(DEPTH_MAX + 1);
    let many = "&amp;".repeat(TEXT_MAX + 1);
    for inside in [
        format!("<{long}/>"),
        format!("<a b=\"{long}\"/>"),
        format!("<!--{long}-->"),
        format!("<prop>{long}</prop>"),
        format!("<response><href>{many}</href></response>"),
        deep,
    ] {
        let text = format!("<multistatus xmlns=\"DAV:\">{inside}</multistatus>");
        let outcome = parse(text.as_bytes(), &[4096]);
        assert!(matches!(outcome, Err(RemoteError::Protocol(_))), "{outcome:?}");
    }
}

#[test]
fn a_connection_that_breaks_keeps_its_own_error() {
    let pieces = [
        Ok(Bytes::from_static(b"<multistatus xmlns=\"DAV:\"><resp")),
        Err(io::Error::other(RemoteError::NoAnswer("reset".into()))),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = runtime
        .block_on(async { Multistatus::new(StreamReader::new(stream::iter(pieces))).next().await });
    assert!(matches!(outcome, Err(RemoteError::NoAnswer(why)) if why == "reset"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_pieces_that_a_listing_comes_in_change_nothing(
        which in 0..documents().len(),
        lengths in prop::collection::vec(1usize..200, 1..20),
    ) {
        let document = documents()[which];
        let in_pieces = parse(document.as_bytes(), &lengths).unwrap();
        prop_assert_eq!(in_pieces, whole(document).unwrap());
    }

    #[test]
    fn no_input_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in 0usize..2000,
    ) {
        let mut document = documents()[0].as_bytes().to_vec();
        let at = at.min(document.len());
        document.splice(at..at, bytes);
        let _ = parse(&document, &[13]);
    }
}
