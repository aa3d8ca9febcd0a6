//! Reading a page: its commands, what they show, and what happens elsewhere meanwhile.

/// What a page asks for, in its order.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Run { command: String, expected: Vec<String> },
    Fstab(String),
    Elsewhere(Elsewhere),
}

/// What a comment lets happen: `<!-- test: stop the server -->`.
#[derive(Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// `stop the server`
    StopServer,
    /// `start the server`
    StartServer,
    /// `alice grants the next login`
    Grant(String),
    /// `/notes.txt is written: some words`
    Write { path: String, text: String },
    /// `/video.mkv is made of 64 MiB`
    Make { path: String, mib: usize },
    /// `the quota is 1 MiB`, `the quota is gone`
    Quota(Option<u64>),
}

impl Elsewhere {
    fn read(text: &str) -> Option<Self> {
        match text {
            "stop the server" => return Some(Self::StopServer),
            "start the server" => return Some(Self::StartServer),
            "the quota is gone" => return Some(Self::Quota(None)),
            _ => {}
        }
        if let Some(quota) = text.strip_prefix("the quota is ") {
            return Some(Self::Quota(Some(quota.strip_suffix(" MiB")?.parse().ok()?)));
        }
        if let Some(user) = text.strip_suffix(" grants the next login") {
            return Some(Self::Grant(user.to_owned()));
        }
        if let Some((path, text)) = text.split_once(" is written: ") {
            return Some(Self::Write { path: path.to_owned(), text: text.to_owned() });
        }
        let (path, size) = text.split_once(" is made of ")?;
        let mib = size.strip_suffix(" MiB")?.parse().ok()?;
        Some(Self::Make { path: path.to_owned(), mib })
    }
}

/// The steps of a page, each with the number of its line.
#[track_caller]
pub fn read(markdown: &str) -> Vec<(usize, Step)> {
    let mut steps: Vec<(usize, Step)> = Vec::new();
    let mut fence = None;
    for (number, line) in markdown.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        if let Some(language) = line.strip_prefix("```") {
            fence = fence.is_none().then_some(language);
            continue;
        }
        let comment = line.strip_prefix("<!-- test: ").and_then(|line| line.strip_suffix(" -->"));
        match (fence, comment) {
            (None, Some(comment)) => {
                let read = Elsewhere::read(comment);
                let read = read.unwrap_or_else(|| panic!("line {number}: what is {comment}?"));
                steps.push((number, Step::Elsewhere(read)));
            }
            (Some("fstab"), _) => steps.push((number, Step::Fstab(line.to_owned()))),
            (Some("console"), _) => {
                let last = steps.last_mut().map(|(_, step)| step);
                match (line.strip_prefix("$ "), line.strip_prefix("> "), last) {
                    (Some(command), ..) => {
                        let (command, expected) = (command.to_owned(), Vec::new());
                        steps.push((number, Step::Run { command, expected }));
                    }
                    (_, Some(more), Some(Step::Run { command, expected }))
                        if expected.is_empty() =>
                    {
                        *command += "\n";
                        *command += more;
                    }
                    (_, _, Some(Step::Run { expected, .. })) => expected.push(line.to_owned()),
                    _ => panic!("line {number}: no command before its output"),
                }
            }
            _ => {}
        }
    }
    steps
}

/// Whether an output is what a page shows.
pub fn is_as_expected(expected: &[String], output: &str) -> bool {
    let output: Vec<_> = output.lines().collect();
    lines_match(expected, &output)
}

fn lines_match(expected: &[String], output: &[&str]) -> bool {
    match (expected.split_first(), output.split_first()) {
        (None, first) => first.is_none(),
        (Some((line, rest)), _) if line == "..." => {
            (0..=output.len()).any(|passed| lines_match(rest, &output[passed..]))
        }
        (Some(_), None) => false,
        (Some((line, rest)), Some((told, others))) => {
            line_matches(line, told) && lines_match(rest, others)
        }
    }
}

fn line_matches(expected: &str, line: &str) -> bool {
    let Some((start, rest)) = expected.split_once("...") else { return expected == line };
    let Some(mut left) = line.strip_prefix(start) else { return false };
    let mut parts: Vec<_> = rest.split("...").collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.split_once(part) {
            Some((_, behind)) => left = behind,
            None => return false,
        }
    }
    left.ends_with(end)
}

#[test]
fn only_three_dots_stand_for_anything() {
    let page = "a\n```console\n$ one\n1 s, ... B\n...\nend\n$ two\n> more\n```\n<!-- test: stop the server -->";
    let steps = read(page);
    assert_eq!(steps.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 7, 10]);
    assert_eq!(steps[2].1, Step::Elsewhere(Elsewhere::StopServer));
    assert_eq!(steps[1].1, Step::Run { command: "two\nmore".to_owned(), expected: Vec::new() });
    let (_, Step::Run { expected, .. }) = &steps[0] else { panic!("{steps:?}") };
    for (output, is_expected) in [
        ("1 s, 5 B\nend\n", true),
        ("1 s, 5 B\nmore\nend\nend\n", true),
        ("1 s, 5 B\nmore\n", false),
        ("2 s, 5 B\nend\n", false),
        ("1 s, 5 B or so\nend\n", false),
        ("", false),
    ] {
        assert_eq!(is_as_expected(expected, output), is_expected, "{output}");
    }
    assert!(!is_as_expected(&[], "something\n"));
}
