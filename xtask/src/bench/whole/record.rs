//! What was measured: `benchmarks.json`. Each part is kept until it is measured again.

use std::{collections::BTreeMap, fs, io, path::Path};

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::part::Part;

/// The figures of every part, as its own command wrote them, but for the single runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    parts: BTreeMap<String, Value>,
    /// With the single runs, those of this run alone.
    raw: BTreeMap<String, Value>,
}

impl Record {
    /// That of a file; empty where there is none yet.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let tried = || format!("cannot read {}", path.display());
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(tried),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(tried),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let parts = serde_json::from_str(text).context("it is no object of figures")?;
        Ok(Self { parts, ..Self::default() })
    }

    /// Takes what a part's command wrote, in place of what was known of it.
    pub(super) fn put(&mut self, part: Part, json: &str) -> Result<()> {
        let mut figures: Value = serde_json::from_str(json)
            .with_context(|| format!("the figures of {} are no JSON", part.word()))?;
        self.raw.insert(part.word().to_owned(), figures.clone());
        forget_runs(&mut figures);
        self.parts.insert(part.word().to_owned(), figures);
        Ok(())
    }

    /// What this run measured, with every single run.
    pub(super) const fn raw(&self) -> &BTreeMap<String, Value> {
        &self.raw
    }

    /// The figures of a part, if it was ever measured.
    pub(super) fn part<T: DeserializeOwned>(&self, part: Part) -> Result<Option<T>> {
        let Some(figures) = self.parts.get(part.word()) else { return Ok(None) };
        let read = serde_json::from_value(figures.clone()).with_context(|| {
            let part = part.word();
            format!("the figures of {part} are of another time: `cargo xtask bench --part {part}`")
        });
        read.map(Some)
    }

    /// Writes it.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.parts).context("figures make no JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Takes away every list of rounds: they are many, and their spread is told.
fn forget_runs(figures: &mut Value) {
    match figures {
        Value::Object(fields) => {
            fields.retain(|name, value| !(name == "rounds" && value.is_array()));
            fields.values_mut().for_each(forget_runs);
        }
        Value::Array(values) => values.iter_mut().for_each(forget_runs),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_runs_are_not_kept() {
        let mut record = Record::default();
        let json = r#"{"rounds":5,"scenes":[{"rounds":[{"rate":1}],"kept":0.9}]}"#;
        record.put(Part::Cps, json).unwrap();
        let kept: Value = record.part(Part::Cps).unwrap().unwrap();
        assert_eq!(kept.to_string(), r#"{"rounds":5,"scenes":[{"kept":0.9}]}"#);
        let raw: Value = serde_json::from_str(json).unwrap();
        assert_eq!(record.raw()["cps"], raw);
    }

    #[test]
    fn a_part_stays_until_it_is_measured_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let mut record = Record::read(&path).unwrap();
        record.put(Part::Cps, "1").unwrap();
        record.put(Part::Engine, "2").unwrap();
        record.write(&path).unwrap();
        let mut record = Record::read(&path).unwrap();
        record.put(Part::Engine, "3").unwrap();
        let figure = |part| record.part::<u32>(part).unwrap();
        assert_eq!([Part::Cps, Part::Engine, Part::Vm].map(figure), [Some(1), Some(3), None]);
        assert!(record.part::<String>(Part::Cps).is_err());
        assert!(!record.raw().contains_key("cps"));
    }

    #[test]
    fn nonsense_is_no_record() {
        assert!(Record::parse("[]").is_err() && Record::parse("").is_err());
        assert!(Record::default().put(Part::Cps, "{").is_err());
    }
}
