//! Mount options, as they stand in fstab, into the options of `ncfs mount`.
//!
//! Every option of `ncfs mount` is a mount option by its long name, with `-` or `_`. The generic ones
//! are those of mount(8), FILESYSTEM-INDEPENDENT MOUNT OPTIONS; mount(8) keeps some of them to itself,
//! but which differs between its versions.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::{Arg, ArgAction, Command};

/// What a generic option means to ncfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generic {
    /// For mount(8), systemd or the kernel, or true of every mount of ncfs.
    Passed,
    ReadOnly(bool),
    NoExec(bool),
    /// Not done, and why.
    Refused(&'static str),
}

const NO_SYNC: &str =
    "no write waits for the server; a program that must be sure calls fsync, a person ncfs flush";

/// Every generic option, without what may follow an equals sign.
pub const GENERIC: [(&str, Generic); 47] = [
    ("defaults", Generic::Passed),
    ("rw", Generic::ReadOnly(false)),
    ("ro", Generic::ReadOnly(true)),
    ("exec", Generic::NoExec(false)),
    ("noexec", Generic::NoExec(true)),
    // A mount of ncfs is always nosuid and nodev; `suid` and `dev` are in `defaults`.
    ("nosuid", Generic::Passed),
    ("suid", Generic::Passed),
    ("nodev", Generic::Passed),
    ("dev", Generic::Passed),
    ("auto", Generic::Passed),
    ("noauto", Generic::Passed),
    ("user", Generic::Passed),
    ("nouser", Generic::Passed),
    ("users", Generic::Passed),
    ("nousers", Generic::Passed),
    ("owner", Generic::Passed),
    ("noowner", Generic::Passed),
    ("group", Generic::Passed),
    ("nogroup", Generic::Passed),
    ("nofail", Generic::Passed),
    ("_netdev", Generic::Passed),
    ("comment", Generic::Passed),
    ("helper", Generic::Passed),
    ("uhelper", Generic::Passed),
    ("silent", Generic::Passed),
    ("loud", Generic::Passed),
    // Access times are set by utimensat only.
    ("atime", Generic::Passed),
    ("noatime", Generic::Passed),
    ("diratime", Generic::Passed),
    ("nodiratime", Generic::Passed),
    ("relatime", Generic::Passed),
    ("norelatime", Generic::Passed),
    ("strictatime", Generic::Passed),
    ("nostrictatime", Generic::Passed),
    ("lazytime", Generic::Passed),
    ("nolazytime", Generic::Passed),
    ("iversion", Generic::Passed),
    ("noiversion", Generic::Passed),
    ("mand", Generic::Passed),
    ("nomand", Generic::Passed),
    ("async", Generic::Passed),
    ("sync", Generic::Refused(NO_SYNC)),
    ("dirsync", Generic::Refused(NO_SYNC)),
    ("remount", Generic::Refused("a mount cannot be changed; umount it and mount it anew")),
    ("bind", Generic::Refused("it takes no file system type; leave out -t ncfs")),
    ("password", Generic::Refused(NO_PASSWORD)),
    ("pass", Generic::Refused(NO_PASSWORD)),
];

const NO_PASSWORD: &str =
    "everybody could read a password in fstab and in the list of processes; use credentials_file";

/// `ncfs mount --user` under another name: mount(8) passes `user` with a meaning of its own.
const LOGIN_NAME: (&str, &str) = ("username", "user");

/// Options that only whoever starts `ncfs mount` by hand can use.
const BY_HAND: [&str; 3] = ["credentials-fd", "ready-fd", "foreground"];

/// What `ncfs mount` is to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Translated {
    pub arguments: Vec<OsString>,
    pub no_exec: bool,
}

/// The options of `ncfs mount` that are mount options, with their names as such.
pub fn accepted(cli: &Command) -> impl Iterator<Item = (String, &Arg)> {
    cli.find_subcommand("mount").into_iter().flat_map(Command::get_arguments).filter_map(|arg| {
        let long = arg.get_long()?;
        let is_own = !BY_HAND.contains(&long) && long != "help";
        let name = if long == LOGIN_NAME.1 { LOGIN_NAME.0 } else { long };
        is_own.then(|| (name.replace('-', "_"), arg))
    })
}

/// Reads a list of mount options. `sloppy` passes over unknown ones. An error is a sentence.
pub fn translate(text: &[u8], cli: &Command, sloppy: bool) -> Result<Translated, String> {
    let mut translated = Translated::default();
    let mut own: Vec<(String, OsString)> = Vec::new();
    let mut read_only = None;
    for option in split(text) {
        let (name, value) = match option.iter().position(|byte| *byte == b'=') {
            Some(at) => (&option[..at], Some(&option[at + 1..])),
            None => (option, None),
        };
        let name = String::from_utf8_lossy(name).into_owned();
        if name.is_empty() || name.starts_with("x-") || name.starts_with("X-") {
            continue;
        }
        if let Some((_, meaning)) = GENERIC.iter().find(|(generic, _)| *generic == name) {
            match meaning {
                Generic::Passed => {}
                Generic::ReadOnly(yes) => read_only = Some(*yes),
                Generic::NoExec(yes) => translated.no_exec = *yes,
                Generic::Refused(why) => {
                    return Err(format!("the mount option {name} is refused: {why}"));
                }
            }
            continue;
        }
        let known = accepted(cli).find(|(own, _)| *own == name.replace('-', "_"));
        let Some((name, arg)) = known else {
            if sloppy {
                continue;
            }
            return Err(format!(
                "there is no mount option {name}; man mount.ncfs and ncfs mount --help list all"
            ));
        };
        let long = arg.get_long().unwrap_or_default();
        let argument = match (arg.get_action(), value) {
            (ArgAction::SetTrue, None) => format!("--{long}").into(),
            (ArgAction::SetTrue, Some(_)) => {
                return Err(format!("the mount option {name} takes no value"));
            }
            (_, None) => return Err(format!("the mount option {name} needs a value: {name}=...")),
            (_, Some(value)) => {
                let quoted = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
                let mut argument = format!("--{long}=").into_bytes();
                argument.extend_from_slice(quoted.unwrap_or(value));
                OsString::from_vec(argument)
            }
        };
        // As for mount(8) itself: what stands in fstab is overridden on the command line.
        own.retain(|(earlier, _)| earlier != long);
        own.push((long.to_owned(), argument));
    }
    if let Some(read_only) = read_only {
        own.retain(|(earlier, _)| earlier != "read-only");
        if read_only {
            own.push(("read-only".to_owned(), "--read-only".into()));
        }
    }
    translated.arguments = own.into_iter().map(|(_, argument)| argument).collect();
    Ok(translated)
}

/// At commas, but for those in double quotes, as libmount does it.
fn split(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    text.split(move |byte| {
        is_quoted ^= *byte == b'"';
        *byte == b',' && !is_quoted
    })
}

/// A sentence about options of `ncfs mount`, with their names as mount options.
pub fn in_mount_words(sentence: &str, cli: &Command) -> String {
    let line = sentence.lines().next().unwrap_or_default();
    let mut text = line.strip_prefix("error: ").unwrap_or(line).to_owned();
    let mut names: Vec<_> = accepted(cli).collect();
    // The longer first, as one may begin with another.
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, arg) in names {
        text = text.replace(&format!("--{}", arg.get_long().unwrap_or_default()), &name);
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Cli;

    fn arguments(text: &str) -> Vec<String> {
        let translated = translate(text.as_bytes(), &Cli::command(), false).unwrap();
        translated.arguments.into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    fn refusal(text: &str) -> String {
        translate(text.as_bytes(), &Cli::command(), false).unwrap_err()
    }

    #[test]
    fn every_option_of_mount_is_a_mount_option_unless_it_is_made_for_a_shell() {
        let cli = Cli::command();
        let names: Vec<_> = accepted(&cli).map(|(name, _)| name).collect();
        let mount = cli.find_subcommand("mount").unwrap();
        let longs = mount.get_arguments().filter_map(Arg::get_long).filter(|l| *l != "help");
        assert_eq!(names.len() + BY_HAND.len(), longs.count());
        for (generic, _) in GENERIC {
            assert!(!names.iter().any(|name| name == generic), "{generic} has two meanings");
        }
    }

    #[test]
    fn names_are_taken_with_hyphens_and_underscores() {
        assert_eq!(
            arguments("cache_size=10G,cache-dir=/c,allow_other,uid=5"),
            ["--cache-size=10G", "--cache-dir=/c", "--allow-other", "--uid=5"]
        );
        assert_eq!(arguments("username=bob"), ["--user=bob"]);
    }

    #[test]
    fn what_mount_passes_for_a_user_entry_is_understood() {
        let cli = Cli::command();
        let text = b"rw,noexec,nosuid,nodev,cache_size=1G,credentials_file=/a b,user,_netdev";
        let translated = translate(text, &cli, false).unwrap();
        assert_eq!(translated.arguments, ["--cache-size=1G", "--credentials-file=/a b"]);
        assert!(translated.no_exec);
        let text =
            b"noexec,user=bob,comment=a,x-systemd.automount,X-mount.mkdir,exec,noauto,nofail";
        assert_eq!(translate(text, &cli, false), Ok(Translated::default()));
    }

    #[test]
    fn of_two_options_with_one_name_the_last_counts() {
        assert_eq!(arguments("ro,cache_size=1G,rw,cache-size=2G"), ["--cache-size=2G"]);
        assert_eq!(arguments("rw,read_only,ro"), ["--read-only"]);
        assert!(arguments("read_only,rw").is_empty());
    }

    #[test]
    fn a_comma_in_quotes_belongs_to_the_value() {
        assert_eq!(arguments("remote_dir=\"/a,b\",ro"), ["--remote-dir=/a,b", "--read-only"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_its_name() {
        for (text, words) in [
            ("cachesize=1G", "no mount option cachesize"),
            ("foreground", "no mount option foreground"),
            ("password=x", "credentials_file"),
            ("sync", "fsync"),
            ("remount,ro", "umount"),
            ("allow_other=1", "takes no value"),
            ("cache_size", "needs a value"),
        ] {
            assert!(refusal(text).contains(words), "{text}: {}", refusal(text));
        }
        let sloppy = translate(b"cachesize=1G,ro", &Cli::command(), true).unwrap();
        assert_eq!(sloppy.arguments, ["--read-only"]);
    }

    #[test]
    fn an_error_names_the_mount_option() {
        let line = ["ncfs", "mount", "--cache-size=much", "--", "u", "d"];
        let error = Cli::try_parse_from(line).unwrap_err();
        let text = in_mount_words(&error.to_string(), &Cli::command());
        assert!(text.contains("'much' for 'cache_size <SIZE>'"), "{text}");
        assert!(!text.contains("--") && !text.contains("error:"), "{text}");
        let text = in_mount_words("name another with --state-dir", &Cli::command());
        assert_eq!(text, "name another with state_dir");
    }

    use clap::Parser;
}
