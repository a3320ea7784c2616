//! A store in which requests wait until the schedule lets them take effect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use castore_core::Digest;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, Result};
use tokio::sync::oneshot;

use super::client::Store;
use super::schedule::Schedule;
use crate::exec::clock as moment;
use crate::store::layout::{Kind, Layout};

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// The grace period of the model.
pub(super) const GRACE: Duration = Duration::from_secs(24 * 3600);

/// The longest time until a request takes effect, for requests whose time matters: a delete of an
/// original, and the write of an index. docs/gc.md: a quarter of the grace period.
pub(super) const IN_FLIGHT: Duration = Duration::from_secs(6 * 3600);

/// The steps in which time may pass.
const JUMPS: [Duration; 5] =
    [HOUR, IN_FLIGHT, Duration::from_secs(13 * 3600), GRACE, Duration::from_secs(50 * 3600)];

/// The store, and everything that happens to it. Clones share the state.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>);

struct State {
    objects: BTreeMap<Path, Object>,
    now: Duration,
    schedule: Schedule,
    /// The steps in which time passes; how many steps are left; requests per step of time; whether
    /// a collector's own requests take effect at once; objects per page of a listing.
    jumps: Vec<Duration>,
    jumps_left: usize,
    steps_per_jump: usize,
    own_at_once: bool,
    page: usize,
    waiting: Vec<Waiting>,
    /// The paused actors, and the answers that wait for them.
    paused: BTreeMap<&'static str, Paused>,
    pauses_left: usize,
    answers_per_pause: usize,
    pause_at: Option<&'static str>,
    /// By how much the clocks of an actor are behind, because they stood still during a pause.
    behind: BTreeMap<&'static str, Duration>,
    /// When the store answered a collector's look at the record of its batch, if the collector's
    /// clocks have stood still since. Assumption 3 of docs/gc.md bounds the delete that follows.
    looked: BTreeMap<&'static str, Duration>,
    /// The times by which actors must be done with something.
    deadlines: BTreeMap<u64, Duration>,
    next_deadline: u64,
    /// The first failure.
    wrong: Option<String>,
    trace: Option<Vec<String>>,
    faults: usize,
    layout: Layout,
    /// The blobs that actors may store.
    blobs: Vec<Known>,
    /// Blobs whose write was acknowledged, and that no actor has removed since.
    pub(super) guaranteed: BTreeSet<Digest>,
    /// For each blob, how many removals have begun, and how many are under way.
    removals: BTreeMap<Digest, (u64, u64)>,
    pub(super) requests: u64,
}

/// The keys of a blob, computed once, because every step looks them up.
struct Known {
    digest: Digest,
    index: Path,
    chunks: Vec<Keys>,
}

struct Keys {
    chunk: Path,
    /// The prefix of the keys of the chunk's copies that are set aside.
    aside: Path,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    modified: Duration,
}

/// A pause of an actor, between the effect of a request and its answer.
struct Paused {
    /// Whether the actor's clocks stand still as well.
    clocks_stand_still: bool,
    /// The time by which the pause must end.
    until: Option<Duration>,
    answers: Vec<(oneshot::Sender<Result<Answer>>, Result<Answer>)>,
}

/// A request, or an actor that waits for a turn.
struct Waiting {
    actor: &'static str,
    what: What,
    until: Option<Duration>,
    /// Set at random: a lazy request waits until nearly everything else has happened.
    lazy: bool,
    answer: oneshot::Sender<Result<Answer>>,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Turn,
    Head(Path),
    Get(Path),
    Put(Path, Bytes),
    Delete(Path),
    Copy(Path, Path),
    /// Objects under the prefix, after the offset.
    List(Path, Option<Path>),
}

impl What {
    /// Whether this is the look at the record of a batch that comes right before a delete.
    fn is_last_look(&self) -> bool {
        matches!(self, What::Head(path) if path.as_ref().ends_with(".begun"))
    }
}

pub(super) enum Answer {
    Done,
    Object(ObjectMeta, Bytes),
    Page(Vec<ObjectMeta>),
}

/// How a world behaves.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) jumps: Vec<Duration>,
    pub(super) jumps_left: usize,
    pub(super) page: usize,
    /// How many requests may fail.
    pub(super) faults: usize,
    /// How often an actor may be paused, for any time.
    pub(super) pauses: usize,
    /// One in this many answers begins a pause, while pauses are left.
    pub(super) answers_per_pause: usize,
    /// If set, only the first collector is paused, and only when the store has answered a look at
    /// an object with this text in its key.
    pub(super) pause_at: Option<&'static str>,
    /// Whether requests for objects that only collectors use take effect at once, since no other
    /// actor could tell the difference. Otherwise there are too many schedules to try them all.
    pub(super) own_at_once: bool,
    /// At random, time passes once in this many steps.
    pub(super) steps_per_jump: usize,
    pub(super) trace: bool,
}

impl Manner {
    pub(super) fn wild() -> Manner {
        Manner {
            jumps: JUMPS.to_vec(),
            jumps_left: 12,
            page: 2,
            faults: 1,
            pauses: 0,
            answers_per_pause: 25,
            pause_at: None,
            own_at_once: false,
            steps_per_jump: 8,
            trace: false,
        }
    }

    /// Like [`Self::wild`], but actors are paused.
    pub(super) fn paused() -> Manner {
        Manner { pauses: 3, ..Manner::wild() }
    }

    /// Time passes in these steps, and nothing fails.
    pub(super) fn of_jumps(jumps: &[Duration], jumps_left: usize) -> Manner {
        let jumps = jumps.to_vec();
        Manner { jumps, jumps_left, page: 1000, faults: 0, ..Manner::wild() }
    }
}

impl World {
    pub(super) fn new(schedule: Schedule, manner: &Manner) -> World {
        let now = Duration::from_secs(1 << 30);
        moment::set(now);
        World(Arc::new(Mutex::new(State {
            objects: BTreeMap::new(),
            now,
            schedule,
            jumps: manner.jumps.clone(),
            jumps_left: manner.jumps_left,
            page: manner.page,
            steps_per_jump: manner.steps_per_jump,
            own_at_once: manner.own_at_once,
            waiting: Vec::new(),
            paused: BTreeMap::new(),
            pauses_left: manner.pauses,
            answers_per_pause: manner.answers_per_pause,
            pause_at: manner.pause_at,
            behind: BTreeMap::new(),
            looked: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            next_deadline: 0,
            wrong: None,
            trace: manner.trace.then(Vec::new),
            faults: manner.faults,
            layout: Layout::new(&Path::default()),
            blobs: Vec::new(),
            guaranteed: BTreeSet::new(),
            removals: BTreeMap::new(),
            requests: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How many objects a page of a listing has.
    pub(super) fn page_size(&self) -> usize {
        self.state().page
    }

    /// The store, as `actor` reaches it.
    pub(super) fn store(&self, actor: &'static str) -> Arc<dyn ObjectStore> {
        Arc::new(Store { world: self.clone(), actor })
    }

    /// Returns when the schedule says so.
    pub(super) async fn turn(&self, actor: &'static str) {
        let _ = self.request(actor, What::Turn).await;
    }

    pub(super) fn choose(&self, count: usize) -> usize {
        self.state().schedule.choose(count)
    }

    pub(super) fn one_in(&self, cases: usize) -> bool {
        self.state().schedule.one_in(cases)
    }

    /// Puts an object into the store, as if written long ago.
    pub(super) fn preset(&self, path: Path, bytes: Bytes) {
        let mut state = self.state();
        let modified = state.now - 10 * GRACE;
        state.objects.insert(path, Object { bytes, modified });
    }

    pub(super) fn knows(&self, digest: Digest, chunks: &[Digest]) {
        let mut state = self.state();
        let keys = |chunk: &Digest| Keys {
            chunk: state.layout.chunk(chunk),
            aside: state.layout.aside(Kind::Chunk, chunk, ""),
        };
        let chunks = chunks.iter().map(keys).collect();
        let index = state.layout.blob(&digest);
        state.blobs.push(Known { digest, index, chunks });
    }

    /// Lets no more than `time` pass until the returned [`Deadline`] is dropped.
    pub(super) fn within(&self, time: Duration) -> Deadline {
        let mut state = self.state();
        let number = state.next_deadline;
        state.next_deadline += 1;
        let deadline = state.now + time;
        state.deadlines.insert(number, deadline);
        Deadline { world: self.clone(), number }
    }

    /// Lets time pass, regardless of waiting requests.
    pub(super) fn pass(&self, time: Duration) {
        self.state().pass(time);
    }

    /// Ends the schedule: from now on no time passes by itself, and nothing fails.
    pub(super) fn calm(&self) {
        let mut state = self.state();
        state.jumps_left = 0;
        state.faults = 0;
        state.pauses_left = 0;
        state.behind.clear();
        while !state.paused.is_empty() {
            state.wake(0, true);
        }
        state.page = 1000;
        // Requests whose sender is gone take effect now or never.
        let left = std::mem::take(&mut state.waiting);
        for waiting in left {
            let _ = state.apply(&waiting.what);
        }
        state.check();
    }

    pub(super) fn wrong(&self, what: impl Into<String>) {
        let mut state = self.state();
        let what = what.into();
        state.note(|| format!("WRONG: {what}"));
        state.wrong.get_or_insert(what);
    }

    /// Returns the first failure, if any, the schedule that was followed, the trace, and the number
    /// of requests.
    pub(super) fn end(&self) -> (Option<String>, Schedule, Vec<String>, u64) {
        let mut state = self.state();
        let trace = state.trace.take().unwrap_or_default();
        (state.wrong.take(), state.schedule.clone(), trace, state.requests)
    }

    /// Called when an actor begins to store a blob. [`Self::stored`] takes the returned counts of
    /// removals, to decide whether the blob may be relied on.
    pub(super) fn storing(&self, blob: Digest) -> (u64, u64) {
        self.state().removals.get(&blob).copied().unwrap_or_default()
    }

    pub(super) fn stored(&self, blob: Digest, before: (u64, u64)) {
        let mut state = self.state();
        let now = state.removals.get(&blob).copied().unwrap_or_default();
        // A removal that was under way at any time meanwhile may have come last.
        if now == before && now.1 == 0 {
            state.guaranteed.insert(blob);
            state.note(|| format!("stored {blob:.6}"));
        }
        state.check();
    }

    pub(super) fn removing(&self, blob: Digest) {
        let mut state = self.state();
        let removals = state.removals.entry(blob).or_default();
        *removals = (removals.0 + 1, removals.1 + 1);
        state.guaranteed.remove(&blob);
    }

    pub(super) fn removed(&self, blob: Digest) {
        let mut state = self.state();
        state.removals.entry(blob).or_default().1 -= 1;
    }

    pub(super) fn is_guaranteed(&self, blob: Digest) -> bool {
        self.state().guaranteed.contains(&blob)
    }

    /// Checks that the store holds exactly the objects in use, all of them in their place.
    pub(super) fn check_the_end(&self) {
        let mut state = self.state();
        let mut wanted: BTreeSet<Path> = BTreeSet::from([state.layout.clock()]);
        let mut missing = Vec::new();
        for blob in &state.blobs {
            if state.objects.contains_key(&blob.index) {
                wanted.extend(blob.chunks.iter().map(|keys| keys.chunk.clone()));
                wanted.insert(blob.index.clone());
            } else if state.guaranteed.contains(&blob.digest) {
                missing.push(blob.index.to_string());
            }
        }
        for path in &wanted {
            if !state.objects.contains_key(path) {
                missing.push(path.to_string());
            }
        }
        let garbage = state.objects.keys().filter(|path| !wanted.contains(*path));
        let garbage: Vec<String> = garbage.map(Path::to_string).collect();
        if !missing.is_empty() || !garbage.is_empty() {
            let what = format!("at the end {missing:?} are not in place, and {garbage:?} are left");
            state.note(|| what.clone());
            state.wrong.get_or_insert(what);
        }
    }

    /// Lets things happen until an actor can go on. Called when no actor can go on by itself.
    pub(super) fn step(&self) {
        while self.one_step() {}
    }

    /// Lets one thing happen. Returns whether another must happen before an actor can go on.
    fn one_step(&self) -> bool {
        let mut state = self.state();
        // A killed actor no longer waits for its turn or for answers; its writes may still take
        // effect.
        state.waiting.retain(|waiting| {
            !waiting.answer.is_closed()
                || matches!(waiting.what, What::Delete(_) | What::Put(..) | What::Copy(..))
        });
        // An actor that is not paused has by now sent all requests that follow its looks.
        let State { looked, paused, .. } = &mut *state;
        looked.retain(|actor, _| paused.contains_key(actor));
        let alive = state.waiting.iter().any(|waiting| !waiting.answer.is_closed());
        if !alive && state.paused.is_empty() {
            return false;
        }
        if state.own_at_once
            && let Some(own) = state.waiting.iter().position(Waiting::is_own)
        {
            return state.release(own);
        }
        let earliest = state.waiting.iter().filter_map(|waiting| waiting.until).min();
        let pauses = state.paused.values().filter_map(|paused| paused.until);
        let earliest = earliest.into_iter().chain(pauses);
        let earliest = earliest.chain(state.deadlines.values().copied()).min();
        let jumps = match state.jumps_left {
            0 => 0,
            _ => {
                let fits = |jump: &&Duration| earliest.is_none_or(|end| state.now + **jump <= end);
                state.jumps.iter().take_while(fits).count()
            }
        };
        if !alive {
            // All remaining actors are paused.
            if jumps > 0 && state.schedule.one_in(2) {
                state.jump(jumps);
                return true;
            }
            let number = state.paused.len();
            let number = state.schedule.choose(number);
            return !state.wake(number, false);
        }
        let waiting = state.waiting.len();
        let random = matches!(state.schedule, Schedule::Random(_));
        // In random schedules time passes seldom: once for several requests.
        let steps = state.steps_per_jump;
        let jump = jumps > 0 && (!random || state.schedule.one_in(steps));
        if !state.paused.is_empty() && state.schedule.one_in(40) {
            let number = state.paused.len();
            let number = state.schedule.choose(number);
            return !state.wake(number, false);
        }
        let choice = match (jump, random) {
            (true, true) => waiting + state.schedule.choose(jumps),
            (true, false) => state.schedule.choose(waiting + jumps),
            (false, true) => state.choose_request(),
            (false, false) => state.schedule.choose(waiting),
        };
        if choice >= waiting {
            let jump = state.jumps[choice - waiting];
            state.jumps_left -= 1;
            state.pass(jump);
            return true;
        }
        state.release(choice)
    }

    pub(super) async fn request(&self, actor: &'static str, what: What) -> Result<Answer> {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state();
            // A store refuses requests whose signatures are long out of date. Collectors do not
            // rely on that.
            let is_refused = actor.starts_with("writer") && state.behind.contains_key(actor);
            if is_refused && !matches!(what, What::Turn) {
                state.note(|| format!("{actor}: {what:?} is refused, as its clock is wrong"));
                return Err(failed());
            }
            // The time at which these take effect matters: they have a deadline.
            let matters = match &what {
                What::Delete(path) => path.as_ref().starts_with("chunks/"),
                What::Put(path, _) => path.as_ref().starts_with("blobs/"),
                _ => false,
            };
            let since = state.looked.get(actor).copied().filter(|_| matters);
            let until = since.unwrap_or(state.now) + IN_FLIGHT;
            let until = matters.then(|| until.max(state.now));
            let lazy = state.schedule.one_in(12);
            state.waiting.push(Waiting { actor, what, until, lazy, answer });
        }
        answered.await.unwrap_or_else(|_| Err(failed()))
    }
}

/// A promise to the schedule: an actor must be done in time.
pub(super) struct Deadline {
    world: World,
    number: u64,
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.world.state().deadlines.remove(&self.number);
    }
}

impl Waiting {
    /// Whether only collectors use the object of the request.
    fn is_own(&self) -> bool {
        match &self.what {
            What::Turn => self.actor.starts_with("collector"),
            What::Head(path) | What::Get(path) | What::Put(path, _) | What::Delete(path) => {
                path.as_ref().starts_with("gc/")
            }
            What::Copy(..) => false,
            What::List(prefix, _) => prefix.as_ref().starts_with("gc/"),
        }
    }
}

impl State {
    /// One of the requests, at random.
    fn choose_request(&mut self) -> usize {
        let eager = (0..self.waiting.len()).filter(|number| !self.waiting[*number].lazy);
        let eager: Vec<usize> = eager.collect();
        if eager.is_empty() || self.schedule.one_in(32) {
            return self.schedule.choose(self.waiting.len());
        }
        eager[self.schedule.choose(eager.len())]
    }

    /// Lets a request take effect. Returns whether its sender no longer waits.
    fn release(&mut self, number: usize) -> bool {
        let Waiting { actor, what, answer, .. } = self.waiting.swap_remove(number);
        let is_request = !matches!(what, What::Turn);
        self.requests += u64::from(is_request);
        let fails = self.faults > 0 && is_request && self.schedule.one_in(100);
        let takes_effect = !fails || self.schedule.one_in(2);
        let result = if takes_effect { self.apply(&what) } else { Err(failed()) };
        self.note(|| {
            let gone = if answer.is_closed() { ", though nobody waits" } else { "" };
            let failed = if fails { ", and fails" } else { "" };
            format!("{actor}: {what:?}{gone}{failed}")
        });
        self.faults -= usize::from(fails);
        if matches!(what, What::Put(..) | What::Delete(_) | What::Copy(..)) {
            self.check();
        }
        self.answer(actor, &what, answer, if fails { Err(failed()) } else { result })
    }

    /// Sends an answer to an actor, unless it is paused. Returns whether something else must happen
    /// before an actor can go on.
    fn answer(
        &mut self,
        actor: &'static str,
        what: &What,
        answer: oneshot::Sender<Result<Answer>>,
        result: Result<Answer>,
    ) -> bool {
        let is_place = match (self.pause_at, what) {
            (None, _) => true,
            (Some(part), What::Head(path)) => {
                actor == "collector 1" && path.as_ref().contains(part)
            }
            (Some(_), _) => false,
        };
        if self.pauses_left > 0
            && is_place
            && !self.paused.contains_key(actor)
            && self.schedule.one_in(self.answers_per_pause)
        {
            self.pauses_left -= 1;
            let clocks_stand_still = self.schedule.one_in(2);
            let paused = Paused { clocks_stand_still, until: None, answers: Vec::new() };
            self.paused.insert(actor, paused);
            self.note(|| format!("{actor} is paused; clocks stand still: {clocks_stand_still}"));
        }
        let now = self.now;
        if let Some(paused) = self.paused.get_mut(actor) {
            if what.is_last_look() && paused.clocks_stand_still {
                // Answers to earlier looks of this pause came before, so the first deadline stays.
                paused.until.get_or_insert(now + IN_FLIGHT);
                self.looked.entry(actor).or_insert(now);
            }
            paused.answers.push((answer, result));
            return true;
        }
        self.set_clock_of(actor);
        answer.send(result).is_err()
    }

    /// Ends a pause, with the actor's clock set right or not. Returns whether an actor goes on.
    fn wake(&mut self, number: usize, set_clock: bool) -> bool {
        let Some(actor) = self.paused.keys().nth(number).copied() else { return false };
        let Some(paused) = self.paused.remove(actor) else { return false };
        if set_clock || self.schedule.one_in(2) {
            self.behind.remove(actor);
        }
        self.note(|| format!("{actor} goes on"));
        self.set_clock_of(actor);
        let answers = paused.answers.into_iter();
        answers.fold(false, |any, (answer, result)| answer.send(result).is_ok() | any)
    }

    /// Sets the thread's clock to that of `actor`: after an answer only this actor's tasks run, and
    /// read it.
    fn set_clock_of(&self, actor: &'static str) {
        moment::set(self.now - self.behind.get(actor).copied().unwrap_or_default());
    }

    /// Lets time pass by one of the first `jumps` steps.
    fn jump(&mut self, jumps: usize) {
        let jump = self.schedule.choose(jumps);
        let jump = self.jumps[jump];
        self.jumps_left -= 1;
        self.pass(jump);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        moment::set(self.now);
        for (actor, _) in self.paused.iter().filter(|(_, paused)| paused.clocks_stand_still) {
            *self.behind.entry(actor).or_default() += time;
        }
        self.note(|| format!("{} hours pass", time.as_secs() / 3600));
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    fn apply(&mut self, what: &What) -> Result<Answer> {
        let now = self.now;
        match what {
            What::Turn => {}
            What::Head(path) | What::Get(path) => {
                let object = self.objects.get(path).ok_or_else(|| absent(path))?;
                return Ok(Answer::Object(meta(path, object), object.bytes.clone()));
            }
            What::Put(path, bytes) => {
                let object = Object { bytes: bytes.clone(), modified: now };
                self.objects.insert(path.clone(), object);
            }
            What::Delete(path) => {
                self.objects.remove(path).ok_or_else(|| absent(path))?;
            }
            What::Copy(from, to) => {
                let object = self.objects.get(from).ok_or_else(|| absent(from))?;
                let object = Object { bytes: object.bytes.clone(), modified: now };
                self.objects.insert(to.clone(), object);
            }
            What::List(prefix, offset) => {
                let start = offset.as_ref().unwrap_or(prefix);
                let page = self
                    .objects
                    .range(start.clone()..)
                    .filter(|(path, _)| Some(*path) != offset.as_ref())
                    .take_while(|(path, _)| path.as_ref().starts_with(prefix.as_ref()))
                    .take(self.page)
                    .map(|(path, object)| meta(path, object))
                    .collect();
                return Ok(Answer::Page(page));
            }
        }
        Ok(Answer::Done)
    }

    /// Checks that every guaranteed blob is present, and every chunk that an index lists, in its
    /// place or aside.
    fn check(&mut self) {
        if self.wrong.is_some() {
            return;
        }
        let is_aside = |keys: &Keys| {
            let copy = self.objects.range(keys.aside.clone()..).next();
            copy.is_some_and(|(path, _)| path.as_ref().starts_with(keys.aside.as_ref()))
        };
        let mut wrong = None;
        for blob in &self.blobs {
            if self.objects.contains_key(&blob.index) {
                let mut chunks = blob.chunks.iter();
                let lost =
                    chunks.find(|keys| !self.objects.contains_key(&keys.chunk) && !is_aside(keys));
                if let Some(lost) = lost {
                    wrong = Some(format!("{}, which {} lists, is lost", lost.chunk, blob.index));
                }
            } else if self.guaranteed.contains(&blob.digest) {
                wrong = Some(format!("{} was stored, and is not there", blob.index));
            }
        }
        if let Some(wrong) = wrong {
            self.note(|| format!("WRONG: {wrong}"));
            self.wrong = Some(wrong);
        }
    }
}

fn meta(path: &Path, object: &Object) -> ObjectMeta {
    let last_modified = SystemTime::UNIX_EPOCH + object.modified;
    ObjectMeta {
        location: path.clone(),
        last_modified: last_modified.into(),
        size: object.bytes.len() as u64,
        e_tag: None,
        version: None,
    }
}

fn absent(path: &Path) -> Error {
    Error::NotFound { path: path.to_string(), source: "it is absent".into() }
}

pub(super) fn failed() -> Error {
    Error::Generic { store: "World", source: "it failed".into() }
}
