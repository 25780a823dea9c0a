//! What a story came to.

use std::time::Duration;

use chrono::TimeDelta;
use serde::Serialize;
use state::Time;
use state::invariants::{Outside, check};
use state::ledger::Event;

use super::super::report::provided;
use super::super::stage::{Line, unread};
use super::{Scene, Story};
use crate::output::{Look, View, harmless, span};
use crate::timeline;
use crate::trouble::Trouble;

/// As JSON:
///
/// ```json
/// {
///   "story": "laggard", "ok": true, "seconds": 3.2,
///   "claims": [{"claim": "nobody was refused but with the old key, in the brownout", "held": true}],
///   "calls": {"accepted": 310, "refused": 16},
///   "told": [{"at": "2026-01-03T12:00:00Z", "line": "A key is taken under management"}]
/// }
/// ```
///
/// `ok` exactly if every claim held. `told` is what a person is told while it happens, `calls` are those of the simulated
/// clients.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    story: Story,
    ok: bool,
    seconds: f64,
    claims: Vec<Claim>,
    calls: Calls,
    told: Vec<Line>,
    #[serde(skip)]
    drawn: Vec<(String, Vec<Event>)>,
    #[serde(skip)]
    until: Time,
}

/// Something that should hold, and whether it did.
#[derive(Debug, Serialize)]
pub struct Claim {
    /// What should hold.
    pub claim: String,
    /// Whether it did.
    pub held: bool,
}

#[derive(Debug, Serialize)]
struct Calls {
    accepted: u64,
    refused: usize,
}

impl Ending {
    /// Looks at everything once more.
    pub(super) async fn of(story: Story, mut scene: Scene<'_, '_>) -> Result<Self, Trouble> {
        let (mut drawn, mut violations) = (Vec::new(), Vec::new());
        let mut calls = Calls { accepted: 0, refused: 0 };
        for name in scene.names.clone() {
            let credential = scene.load(&name).await?;
            let history: Vec<Event> = scene.history(&name).await?.into_iter().map(|told| told.event).collect();
            let secret = scene.stage.embedded.engine().describe(name.as_str()).await;
            let secret = secret.map_err(|failure| unread(&name, &failure))?;
            let keys = provided(scene.stage.embedded, &credential);
            violations.extend(check(&credential, &history, &Outside { secret, keys }));
            let tally = scene.tally(&name);
            calls.accepted += tally.accepted;
            calls.refused += tally.refused.len();
            drawn.push((name.to_string(), history));
        }
        scene.claim(calls.accepted > 0, "the clients got through at all");
        let broken = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let but = if broken.is_empty() { broken } else { format!(": {broken}") };
        scene.claim(violations.is_empty(), format!("every invariant holds, and the history chains{but}"));
        Ok(Self {
            story,
            ok: scene.claims.iter().all(|claim| claim.held),
            seconds: 0.0,
            calls,
            told: scene.stage.told().to_vec(),
            drawn,
            until: scene.stage.now(),
            claims: scene.claims,
        })
    }

    /// Whether all of it held.
    pub fn ok(&self) -> bool {
        self.ok
    }

    /// The same, with how long it took.
    pub fn after(self, elapsed: Duration) -> Self {
        Self { seconds: (elapsed.as_secs_f64() * 10.0).round() / 10.0, ..self }
    }
}

impl View for Ending {
    fn page(&self, look: &Look) -> String {
        let width = look.width.map_or(100, usize::from).min(140);
        let mut page = String::from("\n");
        for (name, history) in &self.drawn {
            page.push_str(&timeline::draw(name, history, self.until, width, look.colour));
            page.push('\n');
        }
        page.push_str(&format!("{}\n\n", timeline::legend(look.colour)));
        for Claim { claim, held } in &self.claims {
            let mark = if *held { "held" } else { "NOT HELD" };
            page.push_str(&format!("{mark:<9} {}\n", harmless(claim)));
        }
        let lasted = self.until - super::super::start();
        let time = if lasted < TimeDelta::days(1) { span(lasted) } else { format!("{} days", lasted.num_days() + 1) };
        let Calls { accepted, refused } = self.calls;
        page.push_str(&format!("\n{} s for {time}; {accepted} calls accepted, {refused} refused\n", self.seconds));
        page
    }
}
