//! The actor of one language on `dormouse`, beside a function of the test that gets what it sends.

use std::fs;

use anyhow::{Context as _, Result};
use dormouse_interop::application::{Application, changed};
use dormouse_interop::endpoint::{Endpoint, Reply};
use dormouse_interop::packages::{self, FUNCTIONS, Language, Program};
use dormouse_interop::process::lasting_port;
use dormouse_interop::wire::answer::Effects;
use dormouse_interop::wire::request::Value;

use crate::functions::Functions;

pub(crate) struct Stage {
    pub(crate) application: Application,
    pub(crate) functions: Functions,
    /// Answers without effects, and keeps what came.
    probe: Endpoint,
    looks: usize,
}

/// The text of a manifest among the functions.
pub(crate) fn manifest(name: &str) -> Result<String> {
    let path = packages::checkout().join(FUNCTIONS).join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

impl Stage {
    /// Runs `story` with the actor of `language`; a failure shows the logs.
    pub(crate) fn play(
        language: Language,
        name: &str,
        story: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut application = Application::new(&format!("{language:?}-{name}").to_lowercase())?;
        let (port, probe) = (lasting_port()?, lasting_port()?);
        let log = application.directory().join("functions.log");
        let functions = Functions::start(language, Program::Actor, port, &log)?;
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        application.start_with(&changed(
            &manifest("actor.yaml")?,
            &[
                ("http://functions:8000", &at(port)),
                ("http://frail-functions:8000", &at(port)),
                ("http://probe:8000", &at(probe)),
            ],
        )?)?;
        let probe = Endpoint::start(probe, |_| Reply::from(Effects::new()))?;
        let mut stage = Self { application, functions, probe, looks: 0 };
        let told = story(&mut stage);
        told.with_context(|| {
            format!("{}\n{}", stage.application.log_tail(), stage.functions.log_tail())
        })
    }

    /// Tells the actor with this id what to do.
    pub(crate) fn tell(&self, id: &str, steps: &str) -> Result<()> {
        self.application.tell(&format!("suite/actor/{id}"), steps)
    }

    /// All values that the actor with this id has shown.
    fn shown_so_far(&self, id: &str) -> Vec<Value> {
        let requests = self.probe.requests_of(&format!("probe/sink/{id}"));
        let invocations = requests.iter().flat_map(|request| &request.batch.invocations);
        invocations.map(|invocation| invocation.argument.clone()).collect()
    }

    /// A state of an actor.
    pub(crate) fn shown(&mut self, id: &str, state: &str) -> Result<Value> {
        Ok(self.all_shown(id, &[state])?.remove(0))
    }

    /// States of an actor at one moment.
    pub(crate) fn all_shown(&mut self, id: &str, states: &[&str]) -> Result<Vec<Value>> {
        // What an earlier process had shown may come again, but before this.
        self.looks += 1;
        let look = format!("look {}", self.looks);
        let mut steps = vec![format!("send probe/sink {id} {look}")];
        steps.extend(states.iter().map(|state| format!("show {state}")));
        self.tell(id, &steps.join("; "))?;
        self.probe.wait_for(&format!("{states:?} of {id}"), |_| {
            let all = self.shown_so_far(id);
            let last = all.iter().rposition(|value| value.text() == look)?;
            let shown = all.get(last + 1..=last + states.len())?;
            Some(shown.to_vec())
        })
    }
}
