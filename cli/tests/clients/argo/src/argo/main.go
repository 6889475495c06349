// Reads schemas as Argo CD does: the OpenAPI v2 document in protobuf, from standard input, becomes gnostic's document, kube-openapi's
// models and the schema of structured merge. Cases in a file are parsed, merged and compared by it; what came of each is told as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/golang/protobuf/proto"
	openapi_v2 "github.com/googleapis/gnostic/OpenAPIv2"
	"k8s.io/kube-openapi/pkg/schemaconv"
	models "k8s.io/kube-openapi/pkg/util/proto"
	"sigs.k8s.io/structured-merge-diff/v4/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v4/typed"
)

type mergeCase struct {
	Kind string
	// What is there, and what is put over it.
	Live, Wanted map[string]interface{}
}

type outcome struct {
	Merged                   interface{}
	Added, Modified, Removed []string
}

type report struct {
	// The type of each kind, which is written `group/version/kind`.
	Kinds    map[string]string
	Outcomes []outcome
}

func main() {
	told, err := read(os.Args[1])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(told)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(casesFile string) (*report, error) {
	types, parser, err := schema(os.Stdin)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(casesFile)
	if err != nil {
		return nil, err
	}
	var cases []mergeCase
	if err := json.Unmarshal(text, &cases); err != nil {
		return nil, err
	}
	told := &report{Kinds: types}
	for _, one := range cases {
		came, err := one.merge(parser.Type(types[one.Kind]))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.Kind, err)
		}
		told.Outcomes = append(told.Outcomes, *came)
	}
	return told, nil
}

func schema(document io.Reader) (map[string]string, *typed.Parser, error) {
	bytes, err := io.ReadAll(document)
	if err != nil {
		return nil, nil, err
	}
	read := &openapi_v2.Document{}
	if err := proto.Unmarshal(bytes, read); err != nil {
		return nil, nil, err
	}
	all, err := models.NewOpenAPIData(read)
	if err != nil {
		return nil, nil, err
	}
	converted, err := schemaconv.ToSchemaWithPreserveUnknownFields(all, false)
	if err != nil {
		return nil, nil, err
	}
	types := map[string]string{}
	for _, name := range all.ListModels() {
		kinds, _ := all.LookupModel(name).GetExtensions()["x-kubernetes-group-version-kind"].([]interface{})
		for _, kind := range kinds {
			fields, ok := kind.(map[interface{}]interface{})
			if !ok {
				return nil, nil, fmt.Errorf("%s: a kind is a %T", name, kind)
			}
			key := fmt.Sprintf("%v/%v/%v", fields["group"], fields["version"], fields["kind"])
			if other, ok := types[key]; ok {
				return nil, nil, fmt.Errorf("%s is both %s and %s", key, other, name)
			}
			types[key] = name
		}
	}
	return types, &typed.Parser{Schema: *converted}, nil
}

func (one mergeCase) merge(of typed.ParseableType) (*outcome, error) {
	if !of.IsValid() {
		return nil, fmt.Errorf("there is no such type")
	}
	live, err := of.FromUnstructured(one.Live)
	if err != nil {
		return nil, err
	}
	wanted, err := of.FromUnstructured(one.Wanted)
	if err != nil {
		return nil, err
	}
	merged, err := live.Merge(wanted)
	if err != nil {
		return nil, err
	}
	changed, err := live.Compare(merged)
	if err != nil {
		return nil, err
	}
	return &outcome{
		Merged:   merged.AsValue().Unstructured(),
		Added:    paths(changed.Added),
		Modified: paths(changed.Modified),
		Removed:  paths(changed.Removed),
	}, nil
}

func paths(set *fieldpath.Set) []string {
	all := []string{}
	set.Iterate(func(path fieldpath.Path) { all = append(all, path.String()) })
	return all
}
