//! A dashboard, as its checks read it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::home;
use crate::checkout::Checkout;

/// A dashboard.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Board {
    /// All of it.
    #[serde(skip)]
    pub(super) json: Value,
    /// Its stable name.
    pub(super) uid: String,
    /// Its title.
    pub(super) title: String,
    /// What it is for.
    #[serde(default)]
    pub(super) description: String,
    /// Which form it has.
    pub(super) schema_version: u32,
    /// Under which it is found.
    pub(super) tags: Vec<String>,
    /// What one can choose.
    pub(super) templating: Templating,
    /// What it shows.
    pub(super) panels: Vec<Panel>,
    /// Marks on all panels.
    pub(super) annotations: Annotations,
}

/// Variables.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Templating {
    /// All of them.
    pub(super) list: Vec<Variable>,
}

/// Something that one can choose.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Variable {
    /// Its name.
    pub(super) name: String,
    /// What a person calls it.
    #[serde(default)]
    pub(super) label: String,
    /// `datasource`, `query`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Of a `query`: what gives its values.
    query: Option<VariableQuery>,
    /// Whether several can be chosen.
    #[serde(default)]
    pub(super) multi: bool,
    /// Whether all can be chosen.
    #[serde(default)]
    pub(super) include_all: bool,
    /// What it is chosen from.
    pub(super) datasource: Option<Datasource>,
}

/// What gives a variable's values: a text alone of a `datasource`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum VariableQuery {
    Kind(#[expect(dead_code, reason = "told apart, not read")] String),
    Query { query: String },
}

impl Variable {
    /// What gives its values.
    pub(super) fn definition(&self) -> Option<&str> {
        match &self.query {
            Some(VariableQuery::Query { query }) => Some(query),
            Some(VariableQuery::Kind(_)) | None => None,
        }
    }
}

/// Marks.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Annotations {
    /// All of them.
    pub(super) list: Vec<Annotation>,
}

/// A mark.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Annotation {
    /// Its name.
    pub(super) name: String,
    /// When it is shown.
    pub(super) expr: String,
}

/// A panel.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Panel {
    /// Its number.
    pub(super) id: u32,
    /// `timeseries`, `row`, ….
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Its title.
    #[serde(default)]
    pub(super) title: String,
    /// What it tells.
    #[serde(default)]
    pub(super) description: String,
    /// Where it stands.
    pub(super) grid_pos: GridPos,
    /// Where its figures come from.
    pub(super) datasource: Option<Datasource>,
    /// Its queries.
    #[serde(default)]
    pub(super) targets: Vec<Target>,
    /// Units and colours.
    pub(super) field_config: Option<FieldConfig>,
}

/// A place in the grid, 24 wide.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct GridPos {
    /// From the left.
    pub(super) x: u32,
    /// From the top.
    pub(super) y: u32,
    /// Width.
    pub(super) w: u32,
    /// Height.
    pub(super) h: u32,
}

/// A source of figures.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Datasource {
    /// `prometheus`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Which; here always what was chosen.
    pub(super) uid: String,
}

/// A query.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    /// Its letter.
    pub(super) ref_id: String,
    /// In `PromQL`.
    pub(super) expr: String,
    /// Where its figures come from.
    pub(super) datasource: Option<Datasource>,
    /// Whether it is asked of one moment alone.
    #[serde(default)]
    pub(super) instant: bool,
}

/// Units and colours.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct FieldConfig {
    /// Of every figure.
    pub(super) defaults: Defaults,
}

/// Of every figure.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Defaults {
    /// `s`, `bytes`, ….
    pub(super) unit: Option<String>,
}

impl Board {
    /// Those in git, by name.
    pub(super) fn all(checkout: &Checkout) -> Result<Vec<Self>> {
        let directory = home(checkout).join("grafana");
        let tried = || format!("cannot read {}", directory.display());
        let mut paths = Vec::new();
        for entry in fs::read_dir(&directory).with_context(tried)? {
            paths.push(entry.with_context(tried)?.path());
        }
        paths.sort();
        if paths.is_empty() {
            bail!("there is no dashboard in {}", directory.display());
        }
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Result<Self> {
        let tried = || format!("cannot read {}", path.display());
        let text = fs::read_to_string(path).with_context(tried)?;
        let json: Value = serde_json::from_str(&text).with_context(tried)?;
        Self::of(json).with_context(tried)
    }

    /// From its JSON.
    pub(super) fn of(json: Value) -> Result<Self> {
        let board: Self = serde_json::from_value(json.clone())?;
        Ok(Self { json, ..board })
    }

    /// The panels that ask something.
    pub(super) fn asking(&self) -> impl Iterator<Item = &Panel> {
        self.panels.iter().filter(|panel| !panel.targets.is_empty())
    }
}
