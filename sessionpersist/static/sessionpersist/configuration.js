// The Login Configuration page. Without this script everything works too: all groups are shown, the buttons post the form.
"use strict";

{
    const form = document.getElementById("loginconfiguration_form");
    const panel = document.querySelector(".sp-status");
    const result = document.getElementById("sp-result");
    const testButton = form.querySelector("[name=_test]");
    const saveButton = form.querySelector("[name=_save]");

    function showChosenGroup() {
        const chosen = form.querySelector("[name=persistence_type]:checked");
        for (const group of form.querySelectorAll(".sp-group")) {
            group.hidden = !chosen || group.dataset.type !== chosen.value;
        }
    }

    // Errors beside the fields, in the markup that Django itself gives them.

    function clearErrors() {
        form.querySelectorAll(".errorlist, .errornote").forEach((node) => node.remove());
        form.querySelectorAll(".sp-field.errors").forEach((node) => node.classList.remove("errors"));
        for (const input of form.querySelectorAll("[aria-invalid]")) {
            input.removeAttribute("aria-invalid");
            describe(input, (id) => id !== `${input.id}_error`);
        }
    }

    function describe(input, keep, add = []) {
        const ids = (input.getAttribute("aria-describedby") || "").split(" ").filter((id) => id && keep(id));
        const all = [...ids, ...add].join(" ");
        if (all) {
            input.setAttribute("aria-describedby", all);
        } else {
            input.removeAttribute("aria-describedby");
        }
    }

    function listOf(messages) {
        const list = document.createElement("ul");
        list.className = "errorlist";
        for (const { message } of messages) {
            list.append(Object.assign(document.createElement("li"), { textContent: message }));
        }
        return list;
    }

    function showErrors(errors) {
        for (const [name, messages] of Object.entries(errors)) {
            const list = listOf(messages);
            const row = form.querySelector(`[data-field="${name}"]`);
            const input = row && row.querySelector("input, select");
            if (!input) {
                form.querySelector(".sp-notes").append(list);
                continue;
            }
            list.id = `${input.id}_error`;
            row.classList.add("errors");
            row.insertBefore(list, row.querySelector(".help"));
            input.setAttribute("aria-invalid", "true");
            describe(input, () => true, [list.id]);
        }
    }

    // Test connection. What it says is of the fields as they were: it goes as soon as one is changed.

    let editions = 0; // how often a field was changed

    async function testConnection(event) {
        event.preventDefault();
        const label = busy(testButton, form.dataset.testing);
        const edition = editions;
        clearErrors();
        result.replaceChildren();
        try {
            const headers = { Accept: "application/json" };
            const body = new FormData(form);
            body.delete("your_password"); // a test needs none
            const response = await fetch(testButton.formAction, { method: "POST", body, headers });
            const found = await response.json();
            if (edition === editions) {
                result.innerHTML = found.html; // rendered and escaped by the site's own template
                showErrors(found.errors);
            } else {
                result.replaceChildren(paragraph(form.dataset.outdated, "sp-verdict"));
            }
        } catch {
            result.replaceChildren(paragraph(form.dataset.noAnswer, "sp-verdict sp-failed"));
        } finally {
            idle(testButton, label);
        }
        if (document.activeElement === document.body) {
            testButton.focus({ preventScroll: true }); // disabled, it lost the focus that a keyboard goes on from
        }
        result.scrollIntoView({ block: "nearest" });
    }

    function paragraph(text, className) {
        return Object.assign(document.createElement("p"), { textContent: text, className });
    }

    function edited(event) {
        if (event.target.name === "your_password") {
            clearErrorsOf(event.target); // it is no part of what was tested
            return;
        }
        editions += 1;
        if (result.querySelector(".sp-steps")) {
            clearErrors(); // what the store said, to all fields together
        } else {
            clearErrorsOf(event.target);
        }
        result.replaceChildren();
    }

    function clearErrorsOf(input) {
        const row = input.closest(".sp-field, .sp-types");
        row?.querySelectorAll(".errorlist").forEach((list) => list.remove());
        row?.classList.remove("errors");
        input.removeAttribute("aria-invalid");
        describe(input, (id) => id !== `${input.id}_error`);
    }

    function busy(button, text) {
        const label = button.value;
        button.value = text;
        testButton.disabled = saveButton.disabled = true;
        return label;
    }

    function idle(button, label) {
        button.value = label;
        testButton.disabled = saveButton.disabled = false;
    }

    // Your own password: asked for once it was entered too long ago, which may be while the page is open.

    const LONGEST_TIMER = 2 ** 31 - 1;
    const again = form.querySelector("[data-due]");
    if (again) {
        const due = Math.min(Number(again.dataset.due) * 1000, LONGEST_TIMER);
        setTimeout(() => again.removeAttribute("hidden"), due);
    }

    let leaving = false; // nothing is asked for while the session may be getting a new key

    if (testButton) {
        testButton.addEventListener("click", testConnection);
        form.addEventListener("submit", () => {
            const label = busy(saveButton, form.dataset.saving);
            leaving = true;
            const back = () => {
                idle(saveButton, label);
                leaving = false;
                poll();
                look();
            };
            window.addEventListener("pageshow", back, { once: true }); // back to this page
        });
    }

    // The status: asked after the page has come, so that a store that does not answer does not hold it up; then again
    // and again. A light that nobody has asked again is not green.

    const STATUS_WAIT = 5000;
    const GIVE_UP = 10000; // a poll without an answer is one that failed
    const OLD = 30; // seconds
    const report = document.getElementById("sp-report");
    const told = document.querySelector(".sp-told");
    let polls = 0; // only the latest counts
    let answeredAt = performance.now();
    let nextPoll;

    async function ask(url, options = {}) {
        let response;
        try {
            response = await fetch(url, { redirect: "manual", signal: AbortSignal.timeout(GIVE_UP), ...options });
        } catch {
            throw new Error(panel.dataset.noAnswer);
        }
        const tooOften = response.status === 429 && response.headers.get("Content-Type") === "application/json";
        if (response.ok || tooOften) {
            return response; // the site's own 429 says in the place of the report how long to wait
        }
        const loggedOut = response.type === "opaqueredirect" || response.status === 403;
        const error = panel.dataset.error.replace("#", response.status);
        throw new Error(loggedOut ? panel.dataset.loggedOut : response.status === 503 ? panel.dataset.outage : error);
    }

    async function poll() {
        clearTimeout(nextPoll);
        if (document.hidden || leaving) {
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
        const wait = pending ? Math.min(STATUS_WAIT, Number(pending.dataset.pending) * 1000 + 500) : STATUS_WAIT;
        clearTimeout(nextPoll);
        nextPoll = setTimeout(poll, Math.max(wait, 2 * took));
    }

    function showStatus(html) {
        const fresh = parse(`<section>${html}</section>`).firstChild;
        [...panel.attributes].forEach(({ name, value }) => fresh.setAttribute(name, value));
        morph(panel, fresh);
        const age = panel.querySelector(".sp-age");
        answeredAt = performance.now() - Number(age?.dataset.age || 0) * 1000;
        showAge();
        tell();
    }

    function showNoStatus(reason) {
        const light = panel.querySelector(".sp-light");
        const mark = Object.assign(document.createElement("span"), { textContent: "✗ " });
        mark.setAttribute("aria-hidden", "true");
        const badge = paragraph("", "sp-badge sp-failed");
        badge.append(mark, panel.dataset.unknown);
        const age = paragraph("", "sp-detail");
        age.append(Object.assign(document.createElement("span"), { className: "sp-age sp-last" }));
        light.replaceChildren(badge, paragraph(reason, "sp-detail sp-reason"), age);
        showAge();
        tell();
    }

    function showAge() {
        const age = panel.querySelector(".sp-age");
        const seconds = Math.floor((performance.now() - answeredAt) / 1000);
        if (age) {
            const [unit, count] = seconds < 60 ? ["Seconds", seconds] : ["Minutes", Math.floor(seconds / 60)];
            const text = age.classList.contains("sp-last") ? `last${unit}` : unit.toLowerCase();
            age.textContent = panel.dataset[text].replace("#", count);
        }
        const badge = panel.querySelector(".sp-badge.sp-ok");
        if (badge && seconds > OLD) {
            badge.className = "sp-badge sp-unknown";
            badge.textContent = panel.dataset.old;
        }
    }

    // The age ticks in silence; only another verdict is read out.
    function tell() {
        const [badge, reason] = [".sp-badge", ".sp-reason"].map((each) => panel.querySelector(`.sp-light ${each}`));
        const words = [badge, reason].map((each) => each?.textContent.replace(/[✓✗]/, "").trim()).filter(Boolean).join(": ");
        if (told.dataset.last !== undefined && told.dataset.last !== words) {
            told.textContent = words;
        }
        told.dataset.last = words;
    }

    async function checkNow(event) {
        event.preventDefault();
        const checkForm = event.target;
        const button = checkForm.querySelector("button");
        const before = button.textContent;
        const number = (polls += 1);
        clearTimeout(nextPoll);
        button.textContent = panel.dataset.checking;
        button.setAttribute("aria-disabled", "true");
        try {
            const options = { method: "POST", body: new FormData(checkForm), headers: { Accept: "application/json" } };
            const signal = AbortSignal.timeout(6 * GIVE_UP); // a store that fails step by step takes its time
            const response = await ask(checkForm.action, { ...options, signal });
            const found = await response.json();
            showStatus(found.status);
            report.innerHTML = found.report; // rendered and escaped by the site's own template
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
            checkNow(event);
        }
    });
    setInterval(showAge, 1000);

    // The panels: asked for gently, and changed in place, so that the focus stays where it is and a bar moves.

    const panels = document.querySelector(".sp-panels");
    const SHORTEST_WAIT = 2000;
    const IDLE_WAIT = 10000; // where nothing is going on
    const page = document.querySelector(".sp-page");
    const outdated = panels.querySelector(".sp-outdated");
    let lookedAt = new Date();
    let nextLook;
    let draining = 0; // loops that show their progress themselves

    function morph(old, fresh) {
        if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
            old.replaceWith(fresh);
            return;
        }
        if (old.nodeType !== Node.ELEMENT_NODE) {
            old.nodeValue = fresh.nodeValue;
            return;
        }
        for (const { name } of [...old.attributes].filter((each) => !fresh.hasAttribute(each.name))) {
            old.removeAttribute(name);
        }
        for (const { name, value } of fresh.attributes) {
            if (old.getAttribute(name) !== value) {
                old.setAttribute(name, value);
            }
        }
        const children = [...fresh.childNodes];
        [...old.childNodes].slice(children.length).forEach((node) => node.remove());
        children.forEach((child, index) => {
            const before = old.childNodes[index];
            if (before) {
                morph(before, child);
            } else {
                old.append(child);
            }
        });
    }

    function parse(html) {
        const template = document.createElement("template");
        template.innerHTML = html; // rendered and escaped by the site's own templates
        return template.content;
    }

    async function look() {
        clearTimeout(nextLook);
        if (document.hidden || leaving || draining) {
            return; // it is called again when that is over
        }
        const begun = performance.now();
        let wait = IDLE_WAIT;
        try {
            const response = await ask(panels.dataset.url, { signal: AbortSignal.timeout(6 * GIVE_UP) });
            const fresh = parse(await response.text());
            if (draining) {
                return;
            }
            for (const section of fresh.querySelectorAll("section[id]")) {
                morph(document.getElementById(section.id), section);
            }
            wait = document.getElementById("sp-handover").dataset.lively === "yes" ? SHORTEST_WAIT : IDLE_WAIT;
            lookedAt = new Date();
            page.classList.remove("sp-is-outdated");
            outdated.textContent = "";
        } catch {
            page.classList.add("sp-is-outdated");
            const when = lookedAt.toLocaleTimeString(document.documentElement.lang);
            outdated.textContent = outdated.dataset.text.replace("#", when); // what is shown stays
        }
        clearTimeout(nextLook);
        nextLook = setTimeout(look, Math.max(wait, 5 * (performance.now() - begun)));
    }

    document.addEventListener("visibilitychange", () => {
        look();
        poll();
    });

    // Move the rest now: step by step, until all has moved or somebody presses Pause.

    const PAUSE_BETWEEN_STEPS = 100;
    const WAIT_FOR_SWITCH = 1000;
    const STEPS_IN_VAIN = 20; // with In-Memory, other nodes may still hold sessions that no step of ours comes to

    async function drain(event) {
        const drainForm = event.target.closest(".sp-drain");
        if (!drainForm) {
            return;
        }
        event.preventDefault();
        if (drainForm.dataset.running) {
            drainForm.dataset.stop = "yes";
            label(drainForm, drainForm.dataset.pausing);
            return;
        }
        const begin = label(drainForm, drainForm.dataset.pause);
        const moving = drainForm.closest(".sp-moving");
        drainForm.dataset.running = "yes";
        moving.classList.add("sp-running");
        draining += 1;
        try {
            await drainAll(drainForm);
        } finally {
            draining -= 1;
            moving.classList.remove("sp-running");
            delete drainForm.dataset.running;
            delete drainForm.dataset.stop;
            label(drainForm, begin);
            look();
        }
    }

    async function drainAll(drainForm) {
        const moving = drainForm.closest(".sp-moving");
        let total = 0;
        for (let inVain = 0; inVain < STEPS_IN_VAIN && !drainForm.dataset.stop; ) {
            const answer = await step(drainForm);
            if (answer.facts) {
                const [facts] = parse(answer.facts).children;
                morph(moving.querySelector(".sp-facts"), facts);
            }
            total += answer.moved || 0;
            for (const place of moving.querySelectorAll(".sp-moved")) { // where there are too many to be counted
                place.textContent = `${total.toLocaleString(document.documentElement.lang)} ${drainForm.dataset.moved}`;
            }
            say(answer.message);
            if (answer.over || answer.state === "failed") {
                return;
            }
            inVain = answer.moved || answer.state === "wait" ? 0 : inVain + 1;
            const pause = answer.state === "wait" ? WAIT_FOR_SWITCH : PAUSE_BETWEEN_STEPS;
            await new Promise((resolve) => setTimeout(resolve, pause));
        }
    }

    async function step(drainForm) {
        try {
            const options = { method: "POST", body: new FormData(drainForm), headers: { Accept: "application/json" } };
            const response = await fetch(drainForm.action, { ...options, redirect: "error" });
            return await response.json();
        } catch {
            return { state: "failed", message: drainForm.dataset.failed };
        }
    }

    function label(drainForm, text) {
        const button = drainForm.querySelector("button");
        const before = button.textContent;
        button.textContent = text;
        return before;
    }

    function say(message) {
        panels.querySelector(".sp-said").textContent = message || "";
    }

    panels.addEventListener("submit", drain);

    form.addEventListener("input", edited);
    form.addEventListener("change", showChosenGroup);
    window.addEventListener("pageshow", showChosenGroup); // a browser may restore another choice than the page came with
    showChosenGroup();
    poll();
    look();
}
