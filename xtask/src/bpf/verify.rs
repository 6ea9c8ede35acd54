//! `cargo xtask bpf verify`.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::{
    blessing::{Blessing, Builder, Object},
    compile,
    inputs::Inputs,
    paths,
    recipe::Recipe,
    toolchain::Toolchain,
};
use crate::checkout::Checkout;

/// How many changed inputs are named before the rest is only counted.
const NAMED: usize = 10;

/// Prints one line for each check; fails if one does, or if `require_rebuild` and the object could
/// not be rebuilt.
pub(crate) fn run(checkout: &Checkout, require_rebuild: bool) -> Result<Rebuild> {
    let blessing = Blessing::read(checkout)?;
    let path = checkout.object();
    let object = fs::read(&path).with_context(|| {
        format!("cannot read {}; `cargo xtask bpf build` writes it", path.display())
    })?;
    let recipe = Recipe::current();
    let inputs = Inputs::read(checkout, &recipe)?;

    let mut failed = Vec::new();
    let mut report = |name: &'static str, finding: Result<String>| match finding {
        Ok(finding) => println!("{name}: {finding}"),
        Err(problem) => {
            println!("{name}: FAILED, {problem:#}");
            failed.push(name);
        }
    };
    report("inputs", check_inputs(&inputs, &recipe, &blessing));
    report("object", check_object(&object, &blessing));
    report("paths", check_paths(&object, checkout));
    let rebuild = if failed.is_empty() {
        rebuild(checkout, &blessing, &object)
    } else {
        Ok(Rebuild::NotDone("the checks above failed, so it could only differ".into()))
    };
    match &rebuild {
        Ok(Rebuild::Same) => println!("rebuild: identical, all {} bytes", object.len()),
        Ok(Rebuild::NotDone(why)) => println!("rebuild: not done, {why}"),
        Err(problem) => {
            println!("rebuild: FAILED, {problem:#}");
            failed.push("rebuild");
        }
    }

    if !failed.is_empty() {
        bail!(
            "the kernel object is not proven ({} failed); to rebuild and bless it: \
             `cargo xtask bpf build`, then commit bpf/tcp-trace.bpf.o and bpf/BUILD.toml",
            failed.join(", ")
        );
    }
    let rebuild = rebuild?;
    if require_rebuild && let Rebuild::NotDone(why) = &rebuild {
        bail!("the object had to be rebuilt for comparison, and was not: {why}");
    }
    Ok(rebuild)
}

fn check_inputs(inputs: &Inputs, recipe: &Recipe, blessing: &Blessing) -> Result<String> {
    if blessing.inputs.digest(&blessing.recipe)? != blessing.inputs.sha256 {
        bail!("bpf/BUILD.toml contradicts itself: its digest is not that of what it lists");
    }
    if inputs.sha256 == blessing.inputs.sha256 {
        return Ok(format!("as blessed, {} ({})", inputs.sha256, inputs.summary()));
    }
    let mut changes = inputs.changes(&blessing.inputs);
    if *recipe != blessing.recipe {
        changes.insert(0, "the recipe in xtask/src/bpf/recipe.rs has changed".into());
    }
    let more = changes.len().saturating_sub(NAMED);
    changes.truncate(NAMED);
    if more > 0 {
        changes.push(format!("and {more} more"));
    }
    bail!("the sources are not those the object was built from: {}", changes.join(", "))
}

fn check_object(object: &[u8], blessing: &Blessing) -> Result<String> {
    let found = Object::of(object);
    if found != blessing.object {
        bail!(
            "bpf/tcp-trace.bpf.o is not the blessed one: it has {} ({} bytes), bpf/BUILD.toml \
             says {} ({} bytes)",
            found.sha256,
            found.size,
            blessing.object.sha256,
            blessing.object.size
        );
    }
    Ok(format!("as blessed, {} ({} bytes)", found.sha256, found.size))
}

fn check_paths(object: &[u8], checkout: &Checkout) -> Result<String> {
    paths::refuse(object, &paths::here(checkout))?;
    Ok("none of any machine in the object".into())
}

/// What became of the comparison with a rebuilt object.
#[derive(Debug)]
pub(crate) enum Rebuild {
    /// The same bytes.
    Same,
    /// There was none, and why.
    NotDone(String),
}

fn rebuild(checkout: &Checkout, blessing: &Blessing, object: &[u8]) -> Result<Rebuild> {
    let toolchain = match Toolchain::find(checkout.root()) {
        Ok(toolchain) => toolchain,
        Err(missing) => return Ok(Rebuild::NotDone(format!("missing here: {missing}"))),
    };
    let here = Builder::of(&toolchain);
    if here != blessing.builder {
        return Ok(Rebuild::NotDone(format!(
            "the bytes are only comparable with {}, and this is {}",
            blessing.builder.describe(),
            here.describe()
        )));
    }
    let scratch = tempfile::Builder::new()
        .prefix("tcp-trace-bpf-")
        .tempdir()
        .context("cannot make a temporary directory to build in")?;
    let rebuilt = compile::object(checkout, &toolchain, scratch.path())?;
    if rebuilt == object {
        return Ok(Rebuild::Same);
    }
    let kept = checkout.target().join("rebuilt.bpf.o");
    fs::create_dir_all(checkout.target())
        .and_then(|()| fs::write(&kept, &rebuilt))
        .with_context(|| format!("cannot keep the differing object at {}", kept.display()))?;
    let same = rebuilt.iter().zip(object).take_while(|(one, other)| one == other).count();
    let found = Object::of(&rebuilt);
    bail!(
        "the same sources gave other bytes: {} ({} bytes), differing from byte {same} on; it is \
         kept at {}. Not every difference is a forgery: a [profile.release] in a cargo \
         configuration file outside the checkout, or a bpf-linker built on another LLVM than \
         rustc's, does this too",
        found.sha256,
        found.size,
        kept.display()
    )
}
