//! `cargo xtask bpf build`.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::{
    blessing::{Blessing, Builder, Object},
    compile,
    inputs::Inputs,
    recipe::Recipe,
    toolchain::Toolchain,
};
use crate::checkout::Checkout;

/// Builds the object and blesses it.
pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let toolchain = Toolchain::find(checkout.root())
        .context("the kernel object cannot be built here: something it needs is missing")?;
    let recipe = Recipe::current();
    let inputs = Inputs::read(checkout, &recipe)?;
    let object = compile::object(checkout, &toolchain, &checkout.target())?;
    if Inputs::read(checkout, &recipe)? != inputs {
        bail!("the sources changed while they were being compiled; run this again");
    }

    let path = checkout.object();
    let before = fs::read(&path).ok();
    fs::write(&path, &object).with_context(|| format!("cannot write {}", path.display()))?;
    let blessing =
        Blessing { object: Object::of(&object), builder: Builder::of(&toolchain), recipe, inputs };
    blessing.write(checkout)?;

    let news = if before.is_some_and(|before| before == object) { "unchanged" } else { "new" };
    println!("inputs: {} ({})", blessing.inputs.sha256, blessing.inputs.summary());
    println!("object: {} ({} bytes, {news})", blessing.object.sha256, blessing.object.size);
    println!("commit bpf/tcp-trace.bpf.o and bpf/BUILD.toml together");
    Ok(())
}
