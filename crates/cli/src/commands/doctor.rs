use std::io::Write;

use galley_engine::{Error, ErrorKind, runner};
use galley_sandbox::probe::{self, Fact, Status};

use crate::{
    context::Context,
    display::text,
    exit,
    failure::{Failure, Outcome, output},
};

/// Tells what was found, and ends with 3 when something is in the way of RUN.
pub(crate) fn execute(context: &Context) -> Outcome {
    let root = context.root()?;
    fs_err::create_dir_all(&root).map_err(|error| {
        Error::new(ErrorKind::Store, "cannot make the directory of the store").because(error)
    })?;
    let mut facts = probe::doctor(&root);
    facts.push(packed_layers(context));
    facts.push(emulators());
    let mut out = anstream::stdout().lock();
    writeln!(out, "galley works in {}\n", root.display()).map_err(output)?;
    facts.iter().try_for_each(|fact| write!(out, "{}", drawn(fact))).map_err(output)?;
    out.flush().map_err(output)?;
    drop(out);
    // The first fact says whether sandboxes can be made; the others say why not.
    match facts.first() {
        Some(Fact { status: Status::Bad, .. }) => Err(Failure::Code(exit::MACHINE)),
        _ => Ok(()),
    }
}

/// Whether the layers of images are kept as files that the kernel mounts.
fn packed_layers(context: &Context) -> Fact {
    let obstacle = match context.store() {
        Ok(store) => store.packed_obstacle().map(str::to_owned),
        Err(_) => Some("the store cannot be opened".to_owned()),
    };
    let (value, meaning) = match obstacle {
        None => {
            ("mounted by the kernel".to_owned(), "a layer that comes from outside is written as one file")
        }
        Some(why) => (why, "layers that come from outside are unpacked file by file, which takes longer"),
    };
    Fact { name: "packed layers", value, status: Status::Good, meaning: meaning.to_owned(), change: None }
}

/// For which other machines RUN works.
fn emulators() -> Fact {
    let known = runner::emulated();
    let value = match known.as_deref() {
        None => "the kernel's list is not mounted here".to_owned(),
        Some([]) => "none".to_owned(),
        Some(names) => names.join(", "),
    };
    let meaning =
        "RUN for other platforms needs one; cross builds with FROM --platform=$BUILDPLATFORM do not";
    let change = match known.as_deref() {
        Some([]) => Some("apt-get install qemu-user-static".to_owned()),
        _ => None,
    };
    // Few need any.
    Fact { name: "emulators", value, status: Status::Good, meaning: meaning.to_owned(), change }
}

fn drawn(fact: &Fact) -> String {
    let mark = match fact.status {
        Status::Good => "ok  ",
        Status::Limited => "less",
        Status::Bad => "BAD ",
    };
    let mut text =
        format!("{mark} {}: {}\n     {}\n", fact.name, text::clean(&fact.value), text::clean(&fact.meaning));
    if let Some(change) = &fact.change {
        text.push_str(&format!("     change: {}\n", text::clean(change)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_says_what_to_change() {
        let fact = Fact {
            name: "pasta",
            value: "not in PATH".to_owned(),
            status: Status::Limited,
            meaning: "build steps share the host's network".to_owned(),
            change: Some("apt-get install passt".to_owned()),
        };
        let expected = "less pasta: not in PATH\n     build steps share the host's network\n     change: apt-get install passt\n";
        assert_eq!(drawn(&fact), expected);
    }
}
