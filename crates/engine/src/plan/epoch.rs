//! `SOURCE_DATE_EPOCH` as the name of a stage that does nothing but fetch: the time of what it fetches.

use galley_dockerfile::{
    Command, Expander, Instruction, Stage, Word,
    command::{Add, Arg, CopySource},
};

use super::{PlanOptions, copy, environment::Environment, file::File, globals, options::EPOCH, text::Text};
use crate::{Error, Place, remote::Address};

/// What is fetched to know the time, and where that is written; none when `SOURCE_DATE_EPOCH` is no stage's name.
pub fn epoch_address(options: &PlanOptions) -> Result<Option<(Address, Place)>, Error> {
    let is_number = |value: &str| value.parse::<i64>().is_ok();
    let given = options.given(EPOCH);
    // Nothing is read twice that needs it once.
    let is_written = options.dockerfile.windows(EPOCH.len()).any(|window| window == EPOCH.as_bytes());
    if given.map_or(!is_written, |value| value.is_empty() || is_number(value)) {
        return Ok(None);
    }
    let file = File::read(options)?;
    let Some(platform) = options.targets().into_iter().next() else { return Ok(None) };
    let mut globals = globals::globals(options, &platform, &file.stages, &file.text)?;
    let value = given.or_else(|| globals.get(EPOCH)).unwrap_or_default().to_owned();
    if value.is_empty() || is_number(&value) || options.epoch_of(&value).is_some() {
        return Ok(None);
    }
    let Some(stage) = file.stages.by_name(&value) else { return Ok(None) };
    globals.remove(EPOCH);
    StageOf { options, text: &file.text, stage, variables: globals }.address().map(Some)
}

/// A stage that is only looked at.
struct StageOf<'a> {
    options: &'a PlanOptions,
    text: &'a Text,
    stage: &'a Stage,
    variables: Environment,
}

impl StageOf<'_> {
    fn address(mut self) -> Result<(Address, Place), Error> {
        let stage = self.stage;
        if self.expand(&stage.from.image)? != "scratch" {
            return Err(self.wrong(&stage.instruction, "is not FROM scratch"));
        }
        let mut found = None;
        for instruction in &stage.instructions {
            match &instruction.command {
                Command::Arg(arg) => self.arg(arg)?,
                Command::Add(add) if found.is_none() => found = Some(self.add(add, instruction)?),
                Command::Add(_) => return Err(self.wrong(instruction, "has more than one ADD")),
                _ => return Err(self.wrong(instruction, "has more than ARG and one ADD")),
            }
        }
        found.ok_or_else(|| self.wrong(&stage.instruction, "has no ADD"))
    }

    fn arg(&mut self, arg: &Arg) -> Result<(), Error> {
        for definition in &arg.definitions {
            let name = definition.name.text.as_str();
            let value = match (self.options.build_arg(name), &definition.default) {
                (Some(given), _) => given.to_owned(),
                (None, Some(default)) => self.expand(default)?,
                (None, None) => continue,
            };
            self.variables.set(name, &value);
        }
        Ok(())
    }

    fn add(&self, add: &Add, instruction: &Instruction) -> Result<(Address, Place), Error> {
        let [CopySource::Path(word)] = add.sources.as_slice() else {
            return Err(self.wrong(instruction, "has an ADD of other than one source"));
        };
        let checksum = add.checksum.as_ref().map(|word| self.expand(word)).transpose()?;
        let checksum = checksum.filter(|checksum| !checksum.is_empty());
        let address = Address::parse(&self.expand(word)?).and_then(|address| match address {
            Some(address) => copy::with_flags(address, add, checksum.as_deref()).map(Some),
            None => Ok(None),
        });
        match address {
            Ok(Some(address)) => Ok((address, self.text.place(word.span))),
            Ok(None) => Err(self.wrong(instruction, "has an ADD of what is in the context")),
            Err(error) => Err(self.text.wrong(word.span, error.to_string())),
        }
    }

    fn expand(&self, word: &Word) -> Result<String, Error> {
        let lookup = |name: &str| self.variables.get(name).map(ToOwned::to_owned);
        let expanded = Expander::new(self.text.escape, &lookup).word(word);
        Ok(expanded.map_err(|error| self.text.error(&error))?.text)
    }

    fn wrong(&self, instruction: &Instruction, why: &str) -> Error {
        let message = format!("{EPOCH} names this stage, which {why}");
        self.text.wrong(instruction.span, message).help(
            "the time of a stage is that of the one URL or git repository that it fetches, \
             with FROM scratch, ARG and ADD and nothing else",
        )
    }
}
