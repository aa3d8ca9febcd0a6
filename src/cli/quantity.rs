//! Sizes, times and counts as people write and read them.

use std::time::Duration;

/// Reads a size: digits with an optional fraction and K, M, G or T (powers of 1024; `10G`, `1.5GiB`
/// and `512MB` are the same kind). Gives bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let unit = unit.to_ascii_uppercase();
    let power = match unit.trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err("expected a size as 512M, 10G or 1T".to_owned()),
    };
    let value: f64 = number.parse().map_err(|_| "expected a size as 512M, 10G or 1T".to_owned())?;
    let bytes = value * 1024f64.powi(power);
    if !bytes.is_finite() || bytes < 0.0 || bytes > i64::MAX as f64 {
        return Err("the size is out of range".to_owned());
    }
    Ok(bytes as u64)
}

/// The smallest cache: a few files that are read at once, and what is read ahead of them, bytes.
const CACHE_MIN: u64 = 64 * 1024 * 1024;

/// Reads the size of a cache. Gives bytes.
pub fn parse_cache_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        bytes if bytes < CACHE_MIN => Err(format!(
            "what is read has to be kept for a while; name at least {}",
            size(CACHE_MIN)
        )),
        bytes => Ok(bytes),
    }
}

/// Reads a time: seconds, or with a unit `500ms`, `5s`, `2m`, `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time as 500ms, 5s, 2m or 1h".to_owned();
    let (number, unit) = split(text);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected()),
    };
    let value: f64 = number.parse().map_err(|_| expected())?;
    // A year is enough, and sums of such times stay in range.
    let seconds = value * scale;
    if !(0.0..=365.0 * 86400.0).contains(&seconds) {
        return Err("the time is out of range".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| expected())
}

/// Reads mode bits: one to four octal digits.
pub fn parse_octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or_else(|| "expected an octal mask as 022 or 077".to_owned())
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

/// A size to be read: `817 B`, `12.5 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A time to be read, in its largest unit: `40 s`, `3 min`, `5 h`, `2 days`.
pub fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

/// `1 file`, `3 files`.
pub fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_can_keep_nothing_is_refused() {
        assert_eq!(parse_cache_size("64M"), Ok(64 << 20));
        for small in ["0", "63M"] {
            let sentence = parse_cache_size(small).unwrap_err();
            assert!(sentence.contains("at least 64.0 MiB"), "{sentence}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024_however_they_are_written() {
        for (text, bytes) in [
            ("0", 0),
            ("817", 817),
            ("10G", 10 << 30),
            ("10GB", 10 << 30),
            ("10 GiB", 10 << 30),
            ("512m", 512 << 20),
            ("1.5K", 1536),
            ("2T", 2 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "G", "10X", "-1", "1e3", "99999999T", "10 G G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_without_a_unit_is_seconds() {
        assert_eq!(parse_duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "-1", "5 days", "1e9", "99999999999"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mask_is_octal() {
        assert_eq!(parse_octal("022"), Ok(0o022));
        assert!(parse_octal("8").is_err() && parse_octal("1777").is_err());
    }

    #[test]
    fn sizes_and_times_are_shown_in_a_unit_that_fits() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(size(10 << 30), "10.0 GiB");
        assert_eq!(time(119), "119 s");
        assert_eq!(time(120), "2 min");
        assert_eq!(time(200_000), "2 days");
    }
}
