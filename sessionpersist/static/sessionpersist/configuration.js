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

    // Test connection.

    async function testConnection(event) {
        event.preventDefault();
        const label = busy(testButton, form.dataset.testing);
        clearErrors();
        result.replaceChildren();
        try {
            const headers = { Accept: "application/json" };
            const response = await fetch(testButton.formAction, { method: "POST", body: new FormData(form), headers });
            const found = await response.json();
            result.innerHTML = found.html; // rendered and escaped by the site's own template
            showErrors(found.errors);
        } catch {
            const message = Object.assign(document.createElement("p"), { textContent: form.dataset.noAnswer });
            message.className = "sp-verdict sp-failed";
            result.replaceChildren(message);
        } finally {
            idle(testButton, label);
        }
        if (document.activeElement === document.body) {
            testButton.focus({ preventScroll: true }); // disabled, it lost the focus that a keyboard goes on from
        }
        result.scrollIntoView({ block: "nearest" });
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

    if (testButton) {
        testButton.addEventListener("click", testConnection);
        form.addEventListener("submit", () => {
            const label = busy(saveButton, form.dataset.saving);
            window.addEventListener("pageshow", () => idle(saveButton, label), { once: true }); // back to this page
        });
    }

    // The status: loaded after the page, so that a store that does not answer does not hold the page up.

    async function loadStatus() {
        const health = panel.querySelector(".sp-health");
        health.setAttribute("aria-busy", "true");
        try {
            const response = await fetch(panel.dataset.url, { redirect: "error" });
            if (!response.ok) {
                throw new Error(String(response.status));
            }
            panel.innerHTML = await response.text();
        } catch {
            health.replaceChildren(Object.assign(document.createElement("p"), { textContent: panel.dataset.failed }));
            return;
        } finally {
            health.removeAttribute("aria-busy");
        }
        const pending = panel.querySelector("[data-pending]");
        if (pending) {
            setTimeout(loadStatus, (Number(pending.dataset.pending) + 1) * 1000);
        }
    }

    panel.addEventListener("click", (event) => {
        if (event.target.closest(".sp-check-now")) {
            event.preventDefault();
            loadStatus();
        }
    });

    // The panels: asked for gently, and changed in place, so that the focus stays where it is and a bar moves.

    const panels = document.querySelector(".sp-panels");
    const SHORTEST_WAIT = 2000;
    const IDLE_WAIT = 10000; // where nothing is going on
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
        if (document.hidden || draining) {
            return; // it is called again when that is over
        }
        const begun = performance.now();
        let wait = IDLE_WAIT;
        try {
            const response = await fetch(panels.dataset.url, { redirect: "error" });
            if (!response.ok) {
                throw new Error(String(response.status));
            }
            const fresh = parse(await response.text());
            if (draining) {
                return;
            }
            for (const section of fresh.querySelectorAll("section[id]")) {
                morph(document.getElementById(section.id), section);
            }
            wait = document.getElementById("sp-handover").dataset.lively === "yes" ? SHORTEST_WAIT : IDLE_WAIT;
        } catch {
            // What is shown stays; the status says when the site does not answer.
        }
        clearTimeout(nextLook);
        nextLook = setTimeout(look, Math.max(wait, 5 * (performance.now() - begun)));
    }

    document.addEventListener("visibilitychange", look);

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

    form.addEventListener("change", showChosenGroup);
    window.addEventListener("pageshow", showChosenGroup); // a browser may restore another choice than the page came with
    showChosenGroup();
    loadStatus();
    look();
}
