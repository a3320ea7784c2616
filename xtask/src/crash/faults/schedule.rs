//! A random schedule: an initial store, commands, faults, and the checks after each command.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::super::damage::damage;
use super::super::files::{self, Random};
use super::arena::{Arena, EXT4, End, FUSE, Filesystem, Lost, Process, Setting, XFS, plain};
use super::disk::Model;
use super::plan::{Action, Plan, Rule};

const DAY: Duration = Duration::from_secs(86_400);

/// The result of a schedule.
pub(super) struct Outcome {
    pub(super) kind: &'static str,
    pub(super) log: Vec<String>,
    pub(super) losses: Vec<String>,
    /// The number of calls with a fault.
    pub(super) fired: u64,
    /// The number of acknowledged blobs at the end.
    pub(super) acknowledged: usize,
}

/// A command on the store.
#[derive(Debug, Clone)]
enum Task {
    /// Puts the files with these numbers.
    Put(Vec<usize>),
    /// The same on a store with damage that only a read reveals.
    PutChecked(Vec<usize>),
    /// Collects with the default grace period; or with none, if no other command runs.
    Collect {
        grace: bool,
    },
    Repair,
    /// Copies from the mirror into the store.
    Copy,
    Remove(Vec<usize>),
    Read(usize),
}

impl Task {
    fn arguments(&self, setting: &Setting) -> Vec<String> {
        let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        match self {
            Task::Put(numbers) | Task::PutChecked(numbers) => {
                let names = numbers.iter().map(|number| setting.blobs[*number].name.clone());
                let put = if matches!(self, Task::Put(_)) { "put" } else { "put --check" };
                words(put).into_iter().chain(names).collect()
            }
            Task::Collect { grace: true } => words("gc --run"),
            Task::Collect { grace: false } => words("gc --run --grace 0"),
            Task::Repair => words("repair --from source"),
            Task::Copy => {
                let mut copy = words("-s source copy --all --to");
                copy.push("STORE".into());
                copy
            }
            Task::Remove(numbers) => {
                let digests = numbers.iter().map(|number| setting.blobs[*number].digest.clone());
                words("rm").into_iter().chain(digests).collect()
            }
            Task::Read(number) => words(&format!("cat {}", setting.blobs[*number].digest)),
        }
    }

    /// Whether the command prints the digest of each blob that is now safe.
    fn tells(&self) -> bool {
        matches!(self, Task::Put(_) | Task::PutChecked(_) | Task::Copy)
    }

    fn may_end_with(&self, code: Option<i32>) -> bool {
        // Blobs to remove may have been removed before.
        code == Some(0) || matches!(self, Task::Remove(_)) && code == Some(4)
    }
}

/// Makes the mirror and the initial stores.
pub(super) fn prepare(setting: &Setting) -> Result<()> {
    for blob in &setting.blobs {
        fs::write(setting.directory.join(&blob.name), &blob.data)?;
    }
    let all: Vec<usize> = (0..setting.blobs.len()).collect();
    let run = |store: &str, task: &Task| -> Result<()> {
        let store = setting.directory.join(store);
        let arguments = task.arguments(setting);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let status = plain(&setting.castore, &setting.directory, &store, &arguments)
            .stdout(std::process::Stdio::null())
            .status()?;
        anyhow::ensure!(status.success(), "{arguments:?} ends with {status}");
        Ok(())
    };
    run("source", &Task::Put(all.clone()))?;
    for base in ["whole", "garbage", "aside", "damaged"] {
        run(base, &Task::Put(all.clone()))?;
    }
    for base in ["garbage", "aside"] {
        run(base, &Task::Remove(removed(setting)))?;
    }
    run("aside", &Task::Collect { grace: false })?;
    damage(&setting.directory.join("damaged"), &mut Random::new("castore faults damage"))
}

/// The blobs that are removed from the stores with garbage.
fn removed(setting: &Setting) -> Vec<usize> {
    (0..setting.blobs.len()).filter(|number| number % 3 == 1).collect()
}

/// Runs the schedule with this seed in the directory `name`.
pub(super) fn run(setting: &Setting, seed: u64, name: &str) -> Result<Outcome> {
    let mut random = Random::new(&format!("castore faults {seed}"));
    let filesystem = filesystem(&mut random);
    let arena = Arena::new(setting, name, filesystem, random)?;
    let mut schedule = Schedule { arena };
    let (kind, result) = match seed % 6 {
        0 => ("power cut", schedule.cut()),
        1 | 2 => ("errors", schedule.errors()),
        3 => ("kill", schedule.killed()),
        4 => ("two at once", schedule.beside()),
        _ => ("pause", schedule.paused()),
    };
    match result {
        Err(error) if !error.is::<Lost>() => return Err(error),
        _ => {}
    }
    let arena = &mut schedule.arena;
    let fired = arena.fired()?;
    Ok(Outcome {
        kind,
        log: std::mem::take(&mut arena.log),
        losses: arena.losses.clone(),
        fired,
        acknowledged: arena.acknowledged.len(),
    })
}

fn filesystem(random: &mut Random) -> Filesystem {
    // The harshest: names are as loose as on FUSE, but a flush of everything works.
    let loose = Filesystem { model: Model::Loose, ..EXT4 };
    [EXT4, EXT4, XFS, loose, FUSE][random.below(5)]
}

struct Schedule<'a> {
    arena: Arena<'a>,
}

impl Schedule<'_> {
    fn below(&mut self, bound: usize) -> usize {
        self.arena.random.below(bound)
    }

    /// Puts a store in place. All blobs that can be read from it count as acknowledged.
    fn begin(&mut self, base: &'static str, age: Duration) -> Result<()> {
        self.arena.note(format!("begins with the store \"{base}\""));
        if base != "empty" {
            let from = self.arena.setting.directory.join(base);
            files::copy(&from, &self.arena.store())?;
            self.arena.age(age)?;
        }
        // Blobs that were removed, or made unreadable by the damage, are no loss.
        self.arena.acknowledged = self.arena.readable()?;
        self.arena.settle()
    }

    /// Some of the files, at least one.
    fn some(&mut self) -> Vec<usize> {
        let count = self.arena.setting.blobs.len();
        let mut some: Vec<usize> = (0..count).filter(|_| self.arena.random.below(3) > 0).collect();
        if some.is_empty() {
            some.push(self.below(count));
        }
        some
    }

    /// A command that makes sense on an initial store, alone.
    fn base_and_task(&mut self) -> (&'static str, Task) {
        match self.below(9) {
            0 | 1 => ("empty", Task::Put(self.some())),
            2 => (["whole", "garbage"][self.below(2)], Task::Put(self.some())),
            3 => (["garbage", "aside"][self.below(2)], Task::Collect { grace: false }),
            4 => ("aside", Task::Put(self.some())),
            5 => (["empty", "garbage"][self.below(2)], Task::Copy),
            6 => ("damaged", Task::Repair),
            7 => ("damaged", Task::PutChecked(self.some())),
            _ => ("whole", Task::Remove(vec![self.below(9), self.below(9)])),
        }
    }

    fn start(&mut self, task: &Task, plan: &Plan) -> Result<Process> {
        if let Task::Remove(numbers) = task {
            for number in numbers {
                self.arena.acknowledged.remove(&self.arena.setting.blobs[*number].digest);
            }
        }
        let store = self.arena.store().display().to_string();
        let mut arguments = task.arguments(self.arena.setting);
        for argument in arguments.iter_mut().filter(|argument| *argument == "STORE") {
            argument.clone_from(&store);
        }
        self.arena.start(&arguments, plan)
    }

    fn end(&mut self, task: &Task, process: Process) -> Result<End> {
        let end = self.arena.end(process)?;
        if task.tells() {
            self.arena.acknowledged.extend(end.digests.iter().cloned());
        }
        Ok(end)
    }

    /// Runs the command to its end, with the faults of the plan.
    fn try_task(&mut self, task: &Task, plan: &Plan) -> Result<End> {
        let process = self.start(task, plan)?;
        self.end(task, process)
    }

    /// Runs the command without faults: it must succeed.
    fn finish(&mut self, task: &Task) -> Result<()> {
        let end = self.try_task(task, &Plan::default())?;
        if !task.may_end_with(end.status.code()) {
            let End { status, complaints, .. } = end;
            return self.arena.lose(format!("does NOT FINISH: {task:?}: {status}: {complaints}"));
        }
        let blobs = &self.arena.setting.blobs;
        let expected: Vec<String> = match task {
            Task::Put(numbers) | Task::PutChecked(numbers) => {
                numbers.iter().map(|number| blobs[*number].digest.clone()).collect()
            }
            Task::Repair | Task::Copy => blobs.iter().map(|blob| blob.digest.clone()).collect(),
            _ => Vec::new(),
        };
        self.arena.acknowledged.extend(expected);
        self.arena.check("when it was done again")
    }

    /// The checks at the end, after a last power cut or without one.
    fn last(&mut self) -> Result<()> {
        if self.below(2) == 0 {
            self.arena.cut()?;
        }
        self.arena.verify()?;
        self.arena.check_others()
    }

    /// Cuts the power at a random call, perhaps twice.
    fn cut(&mut self) -> Result<()> {
        let (base, task) = self.base_and_task();
        self.begin(base, DAY * 3)?;
        for _ in 0..1 + self.below(2) {
            let mut plan = Plan::of(Rule::at_a_change(&mut self.arena.random, Action::Cut));
            if self.below(3) == 0 {
                plan.rules.push(Rule::delays(&mut self.arena.random));
            }
            self.try_task(&task, &plan)?;
            self.arena.cut()?;
        }
        self.finish(&task)?;
        self.arena.cut()?;
        self.last()
    }

    /// Lets calls fail, once or lastingly; then another process tries the command again.
    fn errors(&mut self) -> Result<()> {
        let (base, mut task) = self.base_and_task();
        if self.below(5) == 0 {
            task = Task::Read(self.below(9));
        }
        self.begin(base, DAY * 3)?;
        for _ in 0..1 + self.below(2) {
            let mut plan = Plan::default();
            for _ in 0..2 + self.below(5) {
                plan.rules.push(Rule::fails(&mut self.arena.random));
            }
            plan.mirror = matches!(task, Task::Repair | Task::Copy) && self.below(3) == 0;
            if self.below(4) == 0 {
                plan.jump = Some((1 + self.below(100) as u64, self.jump()));
            }
            let end = self.try_task(&task, &plan)?;
            if let (Task::Read(number), Some(0)) = (&task, end.status.code()) {
                let output = self.arena.last_output()?;
                if output != self.arena.setting.blobs[*number].data {
                    return self
                        .arena
                        .lose(format!("a read ends well with WRONG BYTES: blob {number}"));
                }
            }
            self.arena.check("after errors")?;
            if self.below(3) == 0 {
                self.arena.cut()?;
            }
        }
        if !matches!(task, Task::Read(_)) {
            self.finish(&task)?;
        }
        self.arena.cut()?;
        self.last()
    }

    /// Kills the command between two calls; then another command runs.
    fn killed(&mut self) -> Result<()> {
        let (base, task) = self.base_and_task();
        self.begin(base, DAY * 3)?;
        for _ in 0..1 + self.below(3) {
            let mut plan = Plan::of(Rule::at_a_change(&mut self.arena.random, Action::Kill));
            if self.below(3) == 0 {
                plan.rules.push(Rule::delays(&mut self.arena.random));
            }
            self.try_task(&task, &plan)?;
            self.arena.check("after a kill")?;
        }
        if self.below(2) == 0 {
            self.arena.cut()?;
        }
        self.finish(&task)?;
        let put = match base {
            "damaged" => Task::PutChecked((0..self.arena.setting.blobs.len()).collect()),
            _ => Task::Put(self.some()),
        };
        self.finish(&put)?;
        self.finish(&Task::Collect { grace: false })?;
        self.last()
    }

    /// A jump of the wall clock by hours or years, in seconds.
    fn jump(&mut self) -> i64 {
        let seconds = [7_200, 3 * 86_400, 40 * 86_400, 3_650 * 86_400][self.below(4)];
        if self.below(2) == 0 { seconds } else { -seconds }
    }

    /// Runs two writers, or a writer and a collector, with random delays, and with faults in one of
    /// them.
    fn beside(&mut self) -> Result<()> {
        let base = ["empty", "garbage", "aside", "whole"][self.below(4)];
        self.begin(base, DAY * 3)?;
        let first = Task::Put(self.some());
        let second = match self.below(3) {
            0 => Task::Put(self.some()),
            1 if base != "empty" => Task::Copy,
            _ if base != "empty" => Task::Collect { grace: true },
            _ => Task::Put(self.some()),
        };
        let mut plans = [(); 2].map(|()| Plan::of(Rule::delays(&mut self.arena.random)));
        let action = [Action::Cut, Action::Kill, Action::Cut][self.below(3)];
        let which = self.below(2);
        plans[which].rules.push(match self.below(3) {
            0 => Rule::fails(&mut self.arena.random),
            _ => Rule::at_a_change(&mut self.arena.random, action),
        });
        if self.below(3) == 0 {
            let which = self.below(2);
            plans[which].jump = Some((1 + self.below(100) as u64, self.jump()));
        }
        let processes = [self.start(&first, &plans[0])?, self.start(&second, &plans[1])?];
        let [one, other] = processes;
        self.end(&first, one)?;
        self.end(&second, other)?;
        match self.below(2) {
            0 => self.arena.cut()?,
            _ if plans[which].rules.iter().any(|rule| rule.is(Action::Cut)) => self.arena.cut()?,
            _ => self.arena.check("after both")?,
        }
        self.finish(&first)?;
        self.finish(&second)?;
        self.last()
    }

    /// Stops a writer or a collector at a random call while days pass and others work.
    fn paused(&mut self) -> Result<()> {
        let base = ["garbage", "aside", "garbage"][self.below(3)];
        let age = DAY * [0, 3][self.below(2)];
        self.begin(base, age)?;
        let task = match self.below(5) {
            0 | 1 => Task::Put(self.some()),
            2 => Task::Copy,
            _ => Task::Collect { grace: true },
        };
        let plan = Plan::of(Rule::anywhere(&mut self.arena.random, Action::Stop));
        let mut process = self.start(&task, &plan)?;
        if self.arena.wait_for_stop(&mut process)? {
            let mut passed = Duration::ZERO;
            for _ in 0..1 + self.below(4) {
                let time = [Duration::ZERO, DAY / 24, DAY * 2][self.below(3)];
                passed += time;
                self.arena.age(time)?;
                let other = match self.below(3) {
                    0 => Task::Put(self.some()),
                    _ => Task::Collect { grace: true },
                };
                let end = self.try_task(&other, &Plan::default())?;
                if end.status.code() != Some(0) {
                    let complaints = end.complaints;
                    return self
                        .arena
                        .lose(format!("beside a stopped one: {other:?}: {complaints}"));
                }
                self.arena.check("beside a stopped process")?;
            }
            let clocks = [Duration::ZERO, passed][self.below(2)];
            self.arena.go_on(&process, clocks)?;
        }
        self.end(&task, process)?;
        self.arena.check("after the pause")?;
        let age = DAY * [0, 2][self.below(2)];
        self.arena.age(age)?;
        self.finish(&task)?;
        self.arena.age(DAY * 2)?;
        self.finish(&Task::Collect { grace: true })?;
        self.finish(&Task::Collect { grace: true })?;
        self.last()
    }
}

/// On a disk that lies about flushes, the checks must find an acknowledged blob lost after a cut.
pub(super) fn notices_a_lie(setting: &Setting) -> Result<bool> {
    let random = Random::new("castore faults: a disk that lies");
    let arena = Arena::new(setting, "lie", EXT4, random)?;
    let mut schedule = Schedule { arena };
    schedule.begin("empty", Duration::ZERO)?;
    schedule.arena.ignore_flushes()?;
    let end = schedule.try_task(&Task::Put(vec![0, 1, 2]), &Plan::default())?;
    anyhow::ensure!(end.digests.len() == 3, "put ends with {}: {}", end.status, end.complaints);
    schedule.arena.check("before the cut")?;
    let found = schedule.arena.cut().is_err_and(|error| error.is::<Lost>());
    schedule.arena.losses.clear();
    Ok(found)
}
