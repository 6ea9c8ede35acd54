//! What came back, drawn: a page with a charting library in a headless Chromium. It is not Grafana,
//! and says so.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{board::Board, home, queries::Answered, types};
use crate::{archive::run, checkout::Checkout, tool::Tool};

/// Draws pages.
const CHROMIUM: Tool =
    Tool { name: "chromium-headless-shell", install: "apt-get install chromium-headless-shell" };
/// Parts of the page.
const PAGE: [&str; 4] = ["draw.html", "draw.css", "draw.js", "units.js"];
/// Pixels across.
const WIDTH: u32 = 1600;
/// Pixels that one line of the grid is high, as `draw.js` has it.
const LINE: u32 = 34;
/// Pixels above and below the grid.
const FRAME: u32 = 110;

/// Draws each dashboard into `dashboards/pictures/`.
pub(super) fn draw(checkout: &Checkout, answered: &[Answered]) -> Result<()> {
    let workshop = types::workshop(checkout)?;
    let pictures = home(checkout).join("pictures");
    fs::create_dir_all(&pictures)
        .with_context(|| format!("cannot create {}", pictures.display()))?;
    for part in PAGE {
        let from = home(checkout).join("check").join(part);
        fs::copy(&from, workshop.join(part))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    for board in Board::all(checkout)? {
        let Some(answers) = answered.iter().find(|answered| answered.uid == board.uid) else {
            bail!("{} was not asked", board.title);
        };
        page(&workshop, &board, answers)?;
        let picture = pictures.join(format!("{}.png", board.uid));
        shoot(&workshop, &picture, height(&board))?;
        println!("{}", picture.display());
    }
    Ok(())
}

/// The data of the page, as a script: a page from disk may read nothing else.
fn page(workshop: &Path, board: &Board, answered: &Answered) -> Result<()> {
    let times = |pick: fn(f64, f64) -> f64| -> Option<f64> {
        let points = answered.answers.iter().filter_map(|answer| answer.result.as_array());
        let values = points.flatten().filter_map(|series| series["values"].as_array()).flatten();
        values.filter_map(|point| point[0].as_f64()).reduce(pick)
    };
    let data = serde_json::json!({
        "board": board.json,
        "answers": answered.answers,
        "start": times(f64::min),
        "end": times(f64::max),
    });
    let path = workshop.join("data.js");
    fs::write(&path, format!("const DATA = {data};\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn height(board: &Board) -> u32 {
    let bottoms = board.panels.iter().map(|panel| panel.grid_pos.y + panel.grid_pos.h);
    bottoms.max().unwrap_or(0) * LINE + FRAME
}

fn shoot(workshop: &Path, picture: &Path, height: u32) -> Result<()> {
    let profile = tempfile::tempdir().context("cannot make a directory for Chromium")?;
    run(Command::new(CHROMIUM.required()?)
        .args(["--no-sandbox", "--disable-gpu", "--disable-quic", "--hide-scrollbars"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--virtual-time-budget=5000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={WIDTH},{height}"))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", workshop.join("draw.html").display())))?;
    if !picture.is_file() {
        bail!("Chromium has drawn nothing into {}", picture.display());
    }
    Ok(())
}
