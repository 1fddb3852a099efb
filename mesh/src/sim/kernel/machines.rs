//! Operations on machines and agents: they freeze, stand still, lose power or end.

use super::Kernel;
use super::policy::Policy;
use super::process_table::Death;
use crate::Reason;

impl<P: Policy> Kernel<P> {
    /// Freezes the agent. Its iperf3 processes continue until the kernel ends them.
    pub fn freeze(&mut self, number: usize) {
        self.hosts[number].frozen += 1;
    }

    /// Ends one freeze; after the last one, the agent handles what it has missed.
    pub fn thaw(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.frozen -= 1;
        if host.is_up() {
            self.catch_up(number);
        }
    }

    /// Freezes the agent when it is about to start its next iperf3.
    pub(in crate::sim) fn freeze_at_spawn(&mut self, number: usize) {
        self.hosts[number].freezes_at_spawn += 1;
    }

    /// Ends a freeze of [`Self::freeze_at_spawn`], whether it has begun or not.
    pub(in crate::sim) fn thaw_at_spawn(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if host.freezes_at_spawn > 0 {
            host.freezes_at_spawn -= 1;
        } else {
            self.thaw(number);
        }
    }

    /// Suspends the whole machine, so that its processes touch no node.
    pub(in crate::sim) fn suspend(&mut self, number: usize) {
        self.hosts[number].suspended += 1;
        self.processes
            .on(number)
            .into_iter()
            .for_each(|pid| self.exclusion.release(pid));
    }

    /// Lets the machine run again. A process that is past its deadline dies before it does anything
    /// else.
    pub(in crate::sim) fn resume(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.suspended -= 1;
        if host.suspended > 0 {
            return;
        }
        let local = host.clock.local(self.now);
        for pid in self.processes.on(number) {
            let is_over = self
                .processes
                .get(pid)
                .is_some_and(|process| process.deadline <= local);
            if is_over && self.safeguards.kernel_timer {
                self.die(pid, Death::Deadline);
            } else {
                self.touch(pid);
            }
        }
        if self.hosts[number].is_up() {
            self.catch_up(number);
        }
    }

    /// Ends the agent without a goodbye; the kernel kills its iperf3 processes.
    pub(in crate::sim) fn end_agent(&mut self, number: usize) {
        self.hosts[number].agent = None;
        for pid in self.processes.on(number) {
            self.plan_death(pid, self.now, Death::Killed);
        }
    }

    /// Cuts the machine's power: the agent and its processes are gone at once, and no other node is
    /// told.
    pub fn cut_power(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.dark += 1;
        host.agent = None;
        for pid in self.processes.on(number) {
            self.processes.reap(pid);
            self.exclusion.release(pid);
        }
    }

    /// Restores the machine's power, unless another power cut lasts. No agent runs yet.
    pub fn restore_power(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.dark = host.dark.saturating_sub(1);
    }

    /// Kills all iperf3 processes on the node.
    pub(in crate::sim) fn kill_processes(&mut self, number: usize) {
        for pid in self.processes.on(number) {
            self.plan_death(pid, self.now, Death::Failed(Reason::Interrupted));
        }
    }
}
