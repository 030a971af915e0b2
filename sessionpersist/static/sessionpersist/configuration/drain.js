// Move the rest now: step by step, until all has moved or somebody presses Pause.
"use strict";

{
    const { morph, parse, post } = sessionpersist;
    const PAUSE_BETWEEN_STEPS = 100;
    const WAIT_FOR_SWITCH = 1000;
    const STEPS_IN_VAIN = 20; // with In-Memory, other nodes may still hold sessions that no step of ours comes to
    const panels = document.querySelector(".sp-panels");

    async function drain(event) {
        const form = event.target.closest(".sp-drain");
        if (!form) {
            return;
        }
        event.preventDefault();
        if (form.dataset.running) {
            form.dataset.stop = "yes";
            label(form, form.dataset.pausing);
            return;
        }
        const begin = label(form, form.dataset.pause);
        const moving = form.closest(".sp-moving");
        form.dataset.running = "yes";
        moving.classList.add("sp-running");
        sessionpersist.draining += 1;
        try {
            await drainAll(form, moving);
        } finally {
            sessionpersist.draining -= 1;
            moving.classList.remove("sp-running");
            delete form.dataset.running;
            delete form.dataset.stop;
            label(form, begin);
            document.dispatchEvent(new Event("sp-drained"));
        }
    }

    async function drainAll(form, moving) {
        let total = 0;
        for (let inVain = 0; inVain < STEPS_IN_VAIN && !form.dataset.stop; ) {
            const answer = await step(form);
            if (answer.facts) {
                const [facts] = parse(answer.facts).children;
                morph(moving.querySelector(".sp-facts"), facts);
            }
            total += answer.moved || 0;
            for (const place of moving.querySelectorAll(".sp-moved")) { // where there are too many to be counted
                place.textContent = `${total.toLocaleString(document.documentElement.lang)} ${form.dataset.moved}`;
            }
            panels.querySelector(".sp-said").textContent = answer.message || "";
            if (answer.over || answer.state === "failed") {
                return;
            }
            inVain = answer.moved || answer.state === "wait" ? 0 : inVain + 1;
            const pause = answer.state === "wait" ? WAIT_FOR_SWITCH : PAUSE_BETWEEN_STEPS;
            await new Promise((resolve) => setTimeout(resolve, pause));
        }
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
