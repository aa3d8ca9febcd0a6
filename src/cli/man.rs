//! `ncfs man`: the manual pages, made from the same definitions that read the command line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::args::{Cli, visible};
use super::helpers::{
    EXIT_CODES, GENERIC, Generic, MountHelperArgs, UmountHelperArgs, accepted as mount_options,
    in_mount_words,
};
use crate::failure::{ExitCode, Failure};

/// Write the manual pages, below man1 and man8 of a directory. Used by make install.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where to
    pub directory: PathBuf,
}

const FSTAB: &str = "\
# At the boot, for the user with these numbers:
https://cloud.example.com  /srv/cloud  ncfs  _netdev,credentials_file=/etc/ncfs.json,uid=1000,gid=1000  0 0
# When its user says mount ~/cloud, and until umount ~/cloud:
https://cloud.example.com  /home/alice/cloud  ncfs  noauto,user,_netdev,credentials_file=/home/alice/.config/ncfs.json  0 0";

pub fn run(args: &ManArgs) -> Result<ExitCode, Failure> {
    write_all(&args.directory).map_err(|cause| {
        let sentence = format!("{} cannot be written: {cause}", args.directory.display());
        Failure::new(ExitCode::Other, sentence)
    })?;
    Ok(ExitCode::Success)
}

fn write_all(directory: &Path) -> io::Result<()> {
    let (man1, man8) = (directory.join("man1"), directory.join("man8"));
    fs::create_dir_all(&man1)?;
    fs::create_dir_all(&man8)?;
    let cli = visible();
    for command in cli.get_subcommands() {
        let name = format!("ncfs-{}", command.get_name());
        let usage = format!("ncfs {}", command.get_name());
        let page = page(command.clone().display_name(&name).bin_name(usage), "1")?;
        fs::write(man1.join(format!("{name}.1")), page)?;
    }
    fs::write(man1.join("ncfs.1"), page(cli, "1")?)?;

    let mut mount = page(MountHelperArgs::command(), "8")?;
    mount.extend(mount_sections()?);
    fs::write(man8.join("mount.ncfs.8"), mount)?;
    let mut umount = page(UmountHelperArgs::command(), "8")?;
    umount.extend(helper_sections()?);
    fs::write(man8.join("umount.ncfs.8"), umount)
}

/// The page of one command, with what its help ends with as sections.
fn page(command: Command, section: &str) -> io::Result<Vec<u8>> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_commands = command.has_subcommands();
    let man = Man::new(command.after_help("")).section(section).manual("ncfs");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    // Headings stand at the margin and end with a colon, what belongs to them is indented.
    for line in after.lines() {
        match line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            Some(heading) => {
                roff.control("fi", []);
                roff.control("SH", [heading.to_uppercase().as_str()]);
                roff.control("nf", []);
            }
            None => drop(roff.text([roman(line.strip_prefix("  ").unwrap_or(line))])),
        }
    }
    roff.control("fi", []);
    roff.to_writer(&mut page)?;
    Ok(page)
}

fn mount_sections() -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    roff.control("SH", ["MOUNT OPTIONS"]);
    roff.text([
        roman("Those of "),
        bold("ncfs mount"),
        roman(", where they are explained further. A hyphen may stand for each underscore, and a "),
        roman("value that holds a comma stands in double quotes."),
    ]);
    let cli = Cli::command();
    for (name, arg) in mount_options(&cli) {
        roff.control("TP", []);
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            roff.text([bold(name)]);
        } else {
            let value = arg.get_value_names().and_then(|names| names.first());
            roff.text([bold(name + "="), italic(value.map_or("VALUE", |value| value.as_str()))]);
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let default = arg.get_default_values().first().and_then(|value| value.to_str());
        let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
        let default = default.filter(|_| !is_flag).map(|value| format!(" [default: {value}]"));
        let help = help + default.as_deref().unwrap_or_default();
        roff.text([roman(in_mount_words(&help, &cli))]);
    }
    roff.control("SH", ["GENERIC MOUNT OPTIONS"]);
    roff.text([roman("As in mount(8). A mount of ncfs is always nosuid and nodev.")]);
    roff.control("TP", []);
    roff.text([bold("ro"), roman(", "), bold("noexec")]);
    roff.text([roman("Refuse all changes; let the kernel start no program from there.")]);
    for (name, meaning) in GENERIC {
        if let Generic::Refused(why) = meaning {
            roff.control("TP", []);
            roff.text([bold(name)]);
            roff.text([roman(format!("Refused: {why}."))]);
        }
    }
    roff.control("TP", []);
    let others = GENERIC.iter().filter(|(_, meaning)| *meaning == Generic::Passed);
    let others: Vec<_> = others.map(|(name, _)| *name).collect();
    roff.text([roman(others.join(", ")), roman(", and all that begin with x- or X-")]);
    roff.text([roman("For mount(8), systemd or the kernel, or without effect.")]);
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in FSTAB.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    page.extend(helper_sections()?);
    Ok(page)
}

fn helper_sections() -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT CODES"]);
    for (code, meaning) in EXIT_CODES {
        roff.control("TP", []);
        roff.text([bold(code.to_string())]);
        roff.text([roman(meaning)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("ncfs-mount(1), ncfs-unmount(1), mount(8), umount(8), fstab(5)")]);
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    Ok(page)
}
