//! What the mixin gives. Its files are in git as they are rendered, so that nobody needs jsonnet to
//! use them; this proves that they are nothing else.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{home, none_of};
use crate::{archive::run, checkout::Checkout, tool::JSONNET};

/// Everything rendered: paths below `dashboards/`, and texts.
type Files = BTreeMap<PathBuf, String>;

/// Writes it.
pub(super) fn write(checkout: &Checkout) -> Result<()> {
    let home = home(checkout);
    for (path, text) in render(&home)? {
        let path = home.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Whether the files in git are that, and no others are beside them.
pub(super) fn verify(checkout: &Checkout) -> Result<String> {
    let home = home(checkout);
    let files = render(&home)?;
    let mut faults = Vec::new();
    for (path, text) in &files {
        match fs::read_to_string(home.join(path)) {
            Ok(there) if there == *text => {}
            Ok(_) => faults.push(format!("{} is not what the mixin gives", path.display())),
            Err(error) => faults.push(format!("{}: {error}", path.display())),
        }
    }
    for entry in fs::read_dir(home.join("grafana")).context("there is no dashboards/grafana")? {
        let path = Path::new("grafana").join(entry.context("cannot read it")?.file_name());
        if !files.contains_key(&path) {
            faults.push(format!("{} is of no mixin", path.display()));
        }
    }
    if !faults.is_empty() {
        faults.push("`cargo xtask dashboards render` writes them".to_owned());
    }
    none_of(&faults, format!("{} files", files.len()))
}

fn render(home: &Path) -> Result<Files> {
    let boards: BTreeMap<String, serde_json::Value> = serde_json::from_str(&evaluate(
        home,
        "(import 'mixin.libsonnet').grafanaDashboards",
        false,
    )?)
    .context("the mixin's dashboards are not as expected")?;
    let mut files = Files::new();
    for (name, board) in boards {
        let text = serde_json::to_string_pretty(&board).context("a dashboard is no JSON")?;
        files.insert(Path::new("grafana").join(name), text + "\n");
    }
    for (name, what) in [("alerts.yaml", "prometheusAlerts"), ("rules.yaml", "prometheusRules")] {
        let yaml = format!(
            "std.manifestYamlDoc((import 'mixin.libsonnet').{what}, \
             indent_array_in_object=true, quote_keys=false)"
        );
        let text = evaluate(home, &yaml, true)?;
        let head = "# Rendered from ../mixin by `cargo xtask dashboards render`.\n";
        files.insert(Path::new("prometheus").join(name), format!("{head}{}\n", text.trim_end()));
    }
    Ok(files)
}

fn evaluate(home: &Path, expression: &str, string: bool) -> Result<String> {
    let mixin = home.join("mixin");
    if !mixin.is_dir() {
        bail!("{} is missing", mixin.display());
    }
    let mut command = Command::new(JSONNET.required()?);
    if string {
        command.arg("--string");
    }
    run(command.arg("--jpath").arg(mixin).arg("--exec").arg(expression))
}

/// The alerts with two seconds in place of each minute that they wait, for a scene that is short. With
/// one second a host with too much to do would raise what is over before anybody hears of it.
pub(super) fn hurried_alerts(checkout: &Checkout) -> Result<String> {
    let hurried = "local mixin = import 'mixin.libsonnet'; \
                   local hurry(rule) = if std.objectHas(rule, 'for') \
                   then rule { 'for': '%ds' % (2 * std.parseInt(std.rstripChars(rule['for'], 'm'))) } \
                   else rule; \
                   std.manifestYamlDoc({ groups: [group { rules: std.map(hurry, group.rules) } \
                   for group in mixin.prometheusAlerts.groups] })";
    evaluate(&home(checkout), hurried, true)
}

/// Every expression of a rendered file of rules or alerts, by the name that stands under `key`.
#[cfg(test)]
pub(super) fn expressions(
    checkout: &Checkout,
    file: &str,
    key: &str,
) -> Result<Vec<(String, String)>> {
    let text = checkout.text(&format!("dashboards/prometheus/{file}"))?;
    // Jsonnet writes a rule's fields in the order of their names, and `- ` before the first.
    let rules = text.split("\n      - ").skip(1);
    rules
        .map(|rule| {
            let name = field(rule, key).with_context(|| format!("a rule without {key}: {rule}"))?;
            let expr = field(rule, "expr").with_context(|| format!("{name} has no expr"))?;
            Ok((name, expr))
        })
        .collect()
}

/// A text of a rule: in quotes as JSON has them, or a block.
#[cfg(test)]
fn field(rule: &str, key: &str) -> Option<String> {
    let mut lines = rule.lines().skip_while(|line| !line.trim_start().starts_with(key));
    let (_, value) = lines.next()?.split_once(": ")?;
    if value != "|" {
        return serde_json::from_str(value).ok();
    }
    let block = lines.map_while(|line| line.strip_prefix("          "));
    Some(block.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_rendered() {
        let alert = "alert: \"A\"\n        annotations:\n          summary: \"expr: x\"\n        \
                     expr: |\n          a > 1\n          and b\n        for: \"5m\"";
        assert_eq!(field(alert, "expr").as_deref(), Some("a > 1\nand b"));
        assert_eq!(field(alert, "alert").as_deref(), Some("A"));
        let rule = "expr: \"a{b=\\\"c\\\"}\"\n        record: \"d\"";
        assert_eq!(field(rule, "expr").as_deref(), Some("a{b=\"c\"}"));
        assert_eq!(field(rule, "record").as_deref(), Some("d"));
        let rules = expressions(&Checkout::own(), "rules.yaml", "record").unwrap();
        let alerts = expressions(&Checkout::own(), "alerts.yaml", "alert").unwrap();
        assert!(rules.len() > 5 && alerts.len() >= 20, "{} and {}", rules.len(), alerts.len());
    }
}
