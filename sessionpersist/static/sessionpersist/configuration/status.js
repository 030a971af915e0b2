// The status: asked after the page has come, so that a store that does not answer does not hold it up; then again and
// again. A light that nobody has asked again is not green.
"use strict";

{
    const { ask, morph, paragraph, parse, post, tell } = sessionpersist;
    const WAIT = 5000;
    const OLD = 30; // seconds
    const panel = document.querySelector(".sp-status");
    const report = document.getElementById("sp-report");
    let verdict; // the last that was shown
    let polls = 0; // only the latest counts
    let answeredAt = performance.now();
    let shownAt = performance.now();
    let nextPoll;

    async function poll() {
        clearTimeout(nextPoll);
        if (document.hidden || sessionpersist.leaving) {
            return; // it is called again when that is over
        }
        const number = (polls += 1);
        const begun = performance.now();
        try {
            const response = await ask(panel.dataset.url);
            const html = await response.text();
            if (number === polls) {
                showStatus(html);
            }
        } catch (error) {
            if (number === polls) {
                showNoStatus(error.message);
            }
        }
        if (number === polls) {
            planPoll(performance.now() - begun);
        }
    }

    function planPoll(took) {
        const pending = panel.querySelector("[data-pending]");
        const wait = pending ? Math.min(WAIT, Number(pending.dataset.pending) * 1000 + 500) : WAIT;
        clearTimeout(nextPoll);
        nextPoll = setTimeout(poll, Math.max(wait, 2 * took));
    }

    function showStatus(html) {
        morph(panel.querySelector(".sp-now"), parse(html).firstElementChild);
        shownAt = performance.now();
        const age = panel.querySelector(".sp-age");
        answeredAt = performance.now() - Number(age?.dataset.age || 0) * 1000;
        showAge();
        tellVerdict();
    }

    function showNoStatus(reason) {
        const light = panel.querySelector(".sp-light");
        const mark = Object.assign(document.createElement("span"), { textContent: "✗ " });
        mark.setAttribute("aria-hidden", "true");
        const badge = paragraph("", "sp-badge sp-failed");
        badge.append(mark, panel.dataset.unknown);
        const age = paragraph("", "sp-detail");
        age.append(Object.assign(document.createElement("span"), { className: "sp-age sp-last" }));
        light.replaceChildren(badge, age, paragraph(reason, "sp-reason"));
        showAge();
        tellVerdict();
    }

    function showAge() {
        const age = panel.querySelector(".sp-age");
        const seconds = Math.floor((performance.now() - answeredAt) / 1000);
        if (age) {
            const [unit, count] = seconds < 60 ? ["Seconds", seconds] : ["Minutes", Math.floor(seconds / 60)];
            const text = age.classList.contains("sp-last") ? `last${unit}` : unit.toLowerCase();
            age.textContent = panel.dataset[text].replace(`{${unit.toLowerCase()}}`, count);
        }
        showCountdown();
        const badge = panel.querySelector(".sp-badge.sp-ok");
        if (badge && seconds > OLD) {
            badge.className = "sp-badge sp-unknown";
            badge.textContent = panel.dataset.old;
        }
    }

    // A switch to come is counted down, too.
    function showCountdown() {
        const left = Number(panel.querySelector(".sp-now").dataset.pending) - (performance.now() - shownAt) / 1000;
        const moment = panel.querySelector(".sp-pending .sp-moment");
        if (moment && left > 0 && left < 60) {
            moment.textContent = panel.dataset.inSeconds.replace("{seconds}", Math.ceil(left));
        }
    }

    // The age ticks in silence; only another verdict is read out.
    function tellVerdict() {
        const [badge, reason] = [".sp-badge", ".sp-reason"].map((each) => panel.querySelector(`.sp-light ${each}`));
        const words = [badge, reason].map((each) => each?.textContent.replace(/[✓✗]/, "").trim()).filter(Boolean).join(": ");
        if (verdict !== undefined && verdict !== words) {
            tell(words);
        }
        verdict = words;
    }

    async function checkNow(checkForm) {
        const button = checkForm.querySelector("button");
        const before = button.textContent;
        const number = (polls += 1);
        clearTimeout(nextPoll);
        button.textContent = panel.dataset.checking;
        tell(panel.dataset.checking);
        button.setAttribute("aria-disabled", "true");
        try {
            const found = await post(checkForm.action, new FormData(checkForm));
            showStatus(found.status);
            report.innerHTML = found.report; // rendered and escaped by the site's own template
            tell(report.querySelector(".sp-verdict").textContent.trim());
            report.scrollIntoView({ block: "nearest" });
        } catch (error) {
            report.replaceChildren();
            showNoStatus(error.message);
        }
        button.textContent = before;
        button.removeAttribute("aria-disabled");
        if (number === polls) {
            planPoll(0);
        }
    }

    panel.addEventListener("submit", (event) => {
        event.preventDefault();
        if (!event.target.querySelector("[aria-disabled]")) {
            checkNow(event.target);
        }
    });
    document.addEventListener("visibilitychange", poll);
    document.addEventListener("sp-back", poll);
    setInterval(showAge, 1000);
    poll();
}
