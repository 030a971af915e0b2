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

    form.addEventListener("change", showChosenGroup);
    window.addEventListener("pageshow", showChosenGroup); // a browser may restore another choice than the page came with
    showChosenGroup();
    loadStatus();
}
