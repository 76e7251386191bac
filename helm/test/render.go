// Renders the chart in the way Helm does, as far as this chart goes: for machines that have no Helm. It covers values
// merging, the template functions of Helm over those of sprig, and the objects Values, Release, Chart, Capabilities and
// Template. It supports neither dependencies nor Files nor a cluster.
//
//	render -chart DIR [-f VALUES]... [-kube-version 1.30.0] [-release NAME] [-namespace NAME] [-numbers float|text]
//	       [-print manifests|notes]
//
// It is stricter than Helm in one point: a missing value that reaches the output is an error, not an empty string.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type object = map[string]interface{}

type paths []string

func (p *paths) String() string     { return strings.Join(*p, ",") }
func (p *paths) Set(s string) error { *p = append(*p, s); return nil }

type kubeVersion struct{ Version, Major, Minor string }

func (k kubeVersion) String() string { return k.Version }

type capabilities struct{ KubeVersion kubeVersion }

func main() {
	var files paths
	chart := flag.String("chart", ".", "directory of the chart")
	kube := flag.String("kube-version", "1.30.0", "version of Kubernetes to render for")
	release := flag.String("release", "test", "name of the release")
	namespace := flag.String("namespace", "default", "namespace of the release")
	numbers := flag.String("numbers", "float", "how numbers of the values reach the templates: float or text")
	what := flag.String("print", "manifests", "manifests or notes")
	flag.Var(&files, "f", "file with values; later ones win")
	flag.Parse()

	text, err := run(*chart, files, *kube, *release, *namespace, *numbers == "text", *what)
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
	fmt.Print(text)
}

func run(chart string, files []string, kube, release, namespace string, numbersAsText bool, what string) (string, error) {
	values, err := readYAML(filepath.Join(chart, "values.yaml"), numbersAsText)
	if err != nil {
		return "", err
	}
	for _, file := range files {
		more, err := readYAML(file, numbersAsText)
		if err != nil {
			return "", err
		}
		merge(values, more)
	}

	meta, err := readYAML(filepath.Join(chart, "Chart.yaml"), false)
	if err != nil {
		return "", err
	}
	// Helm hands templates the fields of a Go struct, hence the capitals.
	fields := object{}
	for key, value := range meta {
		fields[strings.ToUpper(key[:1])+key[1:]] = value
	}
	parts := strings.SplitN(strings.TrimPrefix(kube, "v"), ".", 3)
	if len(parts) < 2 {
		return "", fmt.Errorf("%q is no version of Kubernetes", kube)
	}
	context := object{
		"Values": values,
		"Chart":  fields,
		"Release": object{
			"Name": release, "Namespace": namespace, "Service": "Helm",
			"IsInstall": true, "IsUpgrade": false, "Revision": 1,
		},
		"Capabilities": capabilities{kubeVersion{"v" + strings.TrimPrefix(kube, "v"), parts[0], parts[1]}},
	}

	base := fmt.Sprintf("%v/templates", meta["name"])
	set := template.New("chart").Option("missingkey=zero")
	set.Funcs(functions(set))
	found, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil {
		return "", err
	}
	sort.Strings(found)
	var names []string
	for _, file := range found {
		source, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		name := base + "/" + filepath.Base(file)
		if _, err := set.New(name).Parse(string(source)); err != nil {
			return "", fmt.Errorf("parse error: %w", err)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "", fmt.Errorf("no templates in %s", chart)
	}

	var out strings.Builder
	for _, name := range names {
		file := filepath.Base(name)
		notes := file == "NOTES.txt"
		if strings.HasPrefix(file, "_") || notes != (what == "notes") {
			continue
		}
		context["Template"] = object{"Name": name, "BasePath": base}
		var buffer bytes.Buffer
		if err := set.ExecuteTemplate(&buffer, name, context); err != nil {
			return "", fmt.Errorf("execution error: %w", err)
		}
		text := buffer.String()
		if strings.Contains(text, "<no value>") {
			return "", fmt.Errorf("%s: a missing value reaches the output", name)
		}
		if notes {
			out.WriteString(text)
		} else if strings.TrimSpace(text) != "" {
			fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", name, strings.TrimSpace(text))
		}
	}
	return out.String(), nil
}

func readYAML(file string, numbersAsText bool) (object, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var options []yaml.JSONOpt
	if numbersAsText {
		// Depending on its version and on where a value comes from, Helm hands numbers over as float64 or as json.Number,
		// and templates have to cope with both.
		options = append(options, func(d *json.Decoder) *json.Decoder { d.UseNumber(); return d })
	}
	var result object
	// The strict form refuses duplicate keys; it takes no options, hence the second pass.
	if err := yaml.UnmarshalStrict(data, &result); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	result = object{}
	if err := yaml.Unmarshal(data, &result, options...); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return result, nil
}

// merge lays more over base: maps key by key, everything else whole; null takes a default away.
func merge(base, more object) {
	for key, value := range more {
		below, isMap := base[key].(object)
		above, alsoMap := value.(object)
		switch {
		case value == nil:
			delete(base, key)
		case isMap && alsoMap:
			merge(below, above)
		default:
			base[key] = value
		}
	}
}

func functions(set *template.Template) template.FuncMap {
	funcs := sprig.TxtFuncMap()
	// Helm has neither: charts do not depend on the machine that renders them.
	delete(funcs, "env")
	delete(funcs, "expandenv")
	funcs["include"] = func(name string, data interface{}) (string, error) {
		var buffer bytes.Buffer
		err := set.ExecuteTemplate(&buffer, name, data)
		return buffer.String(), err
	}
	funcs["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, errors.New(message)
		}
		return value, nil
	}
	funcs["toYaml"] = func(value interface{}) (string, error) {
		data, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(data), "\n"), err
	}
	funcs["lookup"] = func(string, string, string, string) object { return object{} }
	return funcs
}
