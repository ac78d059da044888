//! What commands that move images have in common: how they show what happens.

use std::time::Instant;

use galley_engine::{Cancel, Error, Events, Fetcher, ports::NoRecords};
use galley_store::Store;

use crate::{
    args::VERSION,
    context::Context,
    display::{self, Progress, Show},
};

/// How to show it.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Print the full name alone
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// How to show what happens
    #[arg(long, value_name = "KIND", value_enum)]
    progress: Option<Progress>,
}

impl ShowArgs {
    /// As usual, or not at all.
    pub(super) const fn new(quiet: bool) -> Self {
        Self { quiet, progress: None }
    }

    /// Does `work`, which fetches into `store` and may write it when `may_write`, and shows what happens meanwhile.
    pub(super) fn show<T>(
        &self,
        context: &Context,
        (store, may_write): (&Store, bool),
        stop: &Cancel,
        work: impl FnOnce(&Fetcher<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (events, receiver) = display::channel(Instant::now());
        let fetcher = |events| Fetcher { store, may_write, events, stop, records: &NoRecords };
        if !may_write {
            // Nothing is shown before it is clear that this was all.
            return work(&fetcher(&Events::silent()));
        }
        let show = Show::start(
            self.progress(context),
            &format!("{} {VERSION}", context.environment.program()),
            receiver,
        );
        let done = work(&fetcher(&events));
        drop(events);
        show.finish();
        done
    }

    fn progress(&self, context: &Context) -> Progress {
        let wanted = if self.quiet { Progress::Quiet } else { self.progress.unwrap_or_default() };
        wanted.resolved(context.environment.text("TERM").as_deref() == Some("dumb"))
    }
}
