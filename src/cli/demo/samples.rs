//! The sample files: something to read, to open in Jupyter, to look at, and one that is big.

use std::fmt::Write;
use std::io;

use testcloud::Testcloud;

const READ_ME: &str = "\
# Welcome

These files are on a server; ncfs shows them as a directory. Change, rename and delete what you like.

- `Documents`: text and a table
- `Notebooks`: a notebook for Jupyter
- `Pictures`: a drawing
- `Big`: 32 MiB, of which only what you read is fetched: try `tail -c 100 Big/random.bin | xxd`
";

const NOTEBOOK: &str = r##"{
 "cells": [
  {"cell_type": "markdown", "id": "title", "metadata": {}, "source": ["# First steps"]},
  {"cell_type": "code", "id": "sum", "execution_count": null, "metadata": {}, "outputs": [],
   "source": ["import csv\n", "rows = list(csv.DictReader(open('../Documents/numbers.csv')))\n",
    "sum(int(row['square']) for row in rows)"]}
 ],
 "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
 "nbformat": 4,
 "nbformat_minor": 5
}
"##;

const DRAWING: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 100">
  <rect width="200" height="100" fill="#e8f1fb"/>
  <path d="M60 70a20 20 0 0 1 0-40 30 30 0 0 1 57-8 24 24 0 0 1 23 48z" fill="#0082c9"/>
</svg>
"##;

const BIG: usize = 32 << 20;

/// Puts the sample files into a user's empty account.
pub fn fill(cloud: &Testcloud, user: &str) -> io::Result<()> {
    for folder in ["/Documents", "/Notebooks", "/Pictures", "/Big"] {
        cloud.make_folder(user, folder)?;
    }
    let put = |path: &str, bytes: &[u8]| cloud.put_file(user, path, bytes, None).map(drop);
    put("/Read me.md", READ_ME.as_bytes())?;
    put("/Documents/notes.txt", b"Buy milk.\nMount the cloud.\n")?;
    put("/Documents/numbers.csv", table().as_bytes())?;
    put("/Notebooks/First steps.ipynb", NOTEBOOK.as_bytes())?;
    put("/Pictures/cloud.svg", DRAWING.as_bytes())?;
    put("/Big/random.bin", &noise(BIG))
}

fn table() -> String {
    let mut text = String::from("number,square\n");
    for number in 1..=1000u32 {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{number},{}", number * number);
    }
    text
}

/// Bytes without a pattern, the same each time (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length.div_ceil(8)).flatten().take(length).collect()
}
