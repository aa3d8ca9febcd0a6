//! Opening a link in the person's browser, where there is one.

use std::env::var_os;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Starts a browser if there is a display to show it on. Gives whether one was started; whether it
/// shows the link nobody can tell.
pub fn open(link: &str) -> bool {
    let is_set = |name| var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY") {
        return false;
    }
    let chosen = std::env::var("BROWSER").unwrap_or_default();
    let (program, arguments) = command(&chosen, link);
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C is meant for us; the browser may stay.
    command.process_group(0).spawn().is_ok()
}

/// What `$BROWSER` asks for: commands separated by colons, of which the first is taken, with `%s` for
/// the link if it does not come last. Without it the desktop decides.
fn command(chosen: &str, link: &str) -> (String, Vec<String>) {
    let first = chosen.split(':').find(|command| !command.trim().is_empty());
    let mut words = first.into_iter().flat_map(str::split_whitespace).map(str::to_owned);
    let Some(program) = words.next() else {
        return ("xdg-open".to_owned(), vec![link.to_owned()]);
    };
    let mut arguments: Vec<String> = words.collect();
    match arguments.iter_mut().find(|argument| argument.contains("%s")) {
        Some(place) => *place = place.replace("%s", link),
        None => arguments.push(link.to_owned()),
    }
    (program, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_browser_gets_the_link_where_it_wants_it() {
        let words = |chosen: &str| {
            let (program, arguments) = command(chosen, "LINK");
            format!("{program} {}", arguments.join(" "))
        };
        assert_eq!(words(""), "xdg-open LINK");
        assert_eq!(words("firefox:lynx"), "firefox LINK");
        assert_eq!(words("firefox --url %s --new"), "firefox --url LINK --new");
    }
}
