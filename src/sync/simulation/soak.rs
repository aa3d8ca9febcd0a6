//! `make soak`: histories of fresh seeds, with all servers in turn, on all cores, until the time is up
//! or one breaks.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::profile::{APACHE, BARE, NEXTCLOUD, Profile, RCLONE};
use super::{number, try_seed};

const PROFILES: [Profile; 4] = [NEXTCLOUD, APACHE, RCLONE, BARE];

/// How many histories of one profile were tried, and how much was destroyed in them that no client
/// can see.
#[derive(Default)]
struct Tried {
    histories: AtomicU64,
    unseeable: AtomicU64,
}

/// `SOAK_SECONDS` says how long, `SOAK_SEED` which seed is the first.
#[test]
#[ignore = "takes as long as it is told to: make soak"]
fn soak() {
    let seconds = number("SOAK_SECONDS").unwrap_or(60);
    let first = number("SOAK_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    println!("\nHistories for {seconds} s on {cores} cores; again with SOAK_SEED={first}");
    let ends = Instant::now() + Duration::from_secs(seconds);
    let next = AtomicU64::new(first);
    let tried: [Tried; PROFILES.len()] = Default::default();
    let stop = AtomicBool::new(false);
    let report = Mutex::new(None);
    let work = || {
        while Instant::now() < ends && !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            for (profile, tried) in PROFILES.into_iter().zip(&tried) {
                match try_seed(seed, profile) {
                    Ok(unseeable) => {
                        tried.unseeable.fetch_add(u64::from(unseeable), Ordering::Relaxed);
                        tried.histories.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(told) => {
                        stop.store(true, Ordering::Relaxed);
                        report.lock().unwrap().get_or_insert(told);
                        return;
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    for (profile, tried) in PROFILES.into_iter().zip(&tried) {
        let histories = tried.histories.load(Ordering::Relaxed);
        let unseeable = tried.unseeable.load(Ordering::Relaxed);
        println!(
            "{:>10}: {histories} histories; {unseeable} contents destroyed that no client can see",
            profile.name
        );
    }
    if let Some(report) = report.into_inner().unwrap() {
        panic!("{report}");
    }
}
