// Move the rest now: step by step, until all has moved or somebody presses Stop.
"use strict";

{
    const { morph, parse, post, tell } = sessionpersist;
    const PAUSE_BETWEEN_STEPS = 100;
    const WAIT_FOR_SWITCH = 1000;
    const QUARTER = 25; // percent: how far all has moved is said that often
    const STEPS_IN_VAIN = 20; // with In-Memory, other nodes may still hold sessions that no step of ours comes to
    const panels = document.querySelector(".sp-panels");

    async function drain(event) {
        const form = event.target.closest(".sp-drain");
        if (!form) {
            return;
        }
        event.preventDefault();
        if (form.dataset.running) {
            form.dataset.halt = "yes";
            label(form, form.dataset.stopping);
            return;
        }
        const begin = label(form, form.dataset.stop);
        const moving = form.closest(".sp-moving");
        form.dataset.running = "yes";
        moving.classList.add("sp-running");
        sessionpersist.draining += 1;
        tell(form.dataset.begun);
        try {
            await drainAll(form, moving);
        } finally {
            sessionpersist.draining -= 1;
            moving.classList.remove("sp-running");
            delete form.dataset.running;
            delete form.dataset.halt;
            label(form, begin);
            document.dispatchEvent(new Event("sp-drained"));
        }
    }

    async function drainAll(form, moving) {
        let total = 0;
        let said = 0; // percent
        for (let inVain = 0; inVain < STEPS_IN_VAIN && !form.dataset.halt; ) {
            const answer = await step(form);
            if (answer.facts) {
                const [facts] = parse(answer.facts).children;
                morph(moving.querySelector(".sp-facts"), facts);
            }
            total += answer.moved || 0;
            for (const place of moving.querySelectorAll(".sp-moved")) { // where there are too many to be counted
                place.textContent = form.dataset.moved.replace("{number}", total.toLocaleString(document.documentElement.lang));
            }
            show(isToldByPanel(answer, moving) ? "" : answer.message || "");
            if (answer.over || answer.state === "failed") {
                return;
            }
            said = tellShare(form, moving.querySelector("progress"), said);
            inVain = answer.moved || answer.state === "wait" ? 0 : inVain + 1;
            const pause = answer.state === "wait" ? WAIT_FOR_SWITCH : PAUSE_BETWEEN_STEPS;
            await new Promise((resolve) => setTimeout(resolve, pause));
        }
        if (form.dataset.halt) {
            tell(form.dataset.stopped);
        }
    }

    // Of the last store that empties the panel itself says that it is over.
    function isToldByPanel(answer, moving) {
        return answer.over && moving.id !== "sp-adoption" && panels.querySelectorAll(".sp-moving").length === 1;
    }

    function show(message) {
        const said = panels.querySelector(".sp-said");
        if (message && message !== said.textContent) {
            tell(message);
        }
        said.textContent = message;
    }

    // A bar that moves is not read out; each quarter is.
    function tellShare(form, bar, said) {
        const share = bar?.hasAttribute("value") ? Math.floor((100 * bar.value) / bar.max) : 0;
        if (share < said + QUARTER) {
            return said;
        }
        tell(form.dataset.share.replace("{percent}", share));
        return share - (share % QUARTER);
    }

    async function step(form) {
        try {
            return await post(form.action, new FormData(form));
        } catch {
            return { state: "failed", message: form.dataset.failed };
        }
    }

    function label(form, text) {
        const button = form.querySelector("button");
        const before = button.textContent;
        button.textContent = text;
        return before;
    }

    panels.addEventListener("submit", drain);
}
