// Shows the fields of the chosen store, and of them those that count by the other choices.
"use strict";

{
    const form = document.getElementById("loginconfiguration_form");

    function valueOf(name) {
        const inputs = [...form.querySelectorAll(`[name="${name}"]`)];
        if (inputs[0]?.type === "checkbox") {
            return inputs[0].checked ? "True" : "False";
        }
        const input = inputs[0]?.type === "radio" ? inputs.find((each) => each.checked) : inputs[0];
        return input ? input.value : "";
    }

    function rowOf(name) {
        return form.querySelector(`[data-field="${name}"]`);
    }

    function counts(row) {
        const { when, values } = row?.dataset || {};
        return when === undefined || (counts(rowOf(when)) && values.split(" ").includes(valueOf(when)));
    }

    function showWhatCounts() {
        const chosen = valueOf("persistence_type");
        for (const group of form.querySelectorAll(".sp-group")) {
            group.hidden = group.dataset.type !== chosen;
        }
        for (const row of form.querySelectorAll("[data-when]")) {
            row.hidden = !counts(row);
        }
    }

    form.addEventListener("change", showWhatCounts);
    window.addEventListener("pageshow", showWhatCounts); // a browser may restore another choice than the page came with
    showWhatCounts();
}
